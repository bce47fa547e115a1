//! The macros that place entries.

/// Places the entry of a concrete type; not part of the public interface.
#[doc(hidden)]
#[macro_export]
macro_rules! __place_operation {
    ($type:ty, $name:expr) => {
        const _: () = {
            use $crate::__private::Otherwise as _;

            #[$crate::__private::linkme::distributed_slice($crate::__private::PHALANX_OPERATIONS)]
            #[linkme(crate = $crate::__private::linkme)]
            static ENTRY: $crate::__private::OperationEntry = $crate::__private::OperationEntry {
                name: $name,
                place: ::core::concat!(::core::file!(), ":", ::core::line!()),
                declaration: <$type as $crate::__private::HasDeclaration>::DECLARATION,
                type_id: ::core::any::TypeId::of::<$type>,
                describe: || {
                    let probe = $crate::__private::TypeProbe::<$type>::new();
                    let description = probe
                        .operation()
                        .or_else(|| probe.async_operation())
                        .or_else(|| probe.monoid())?;
                    ::core::option::Option::Some(
                        description
                            .with($crate::__private::Verb::Filter, probe.filter())
                            .with($crate::__private::Verb::Filter, probe.async_filter())
                            .with($crate::__private::Verb::FlatMap, probe.flat_map())
                            .with($crate::__private::Verb::FlatMap, probe.async_flat_map())
                            .with($crate::__private::Verb::Reduce, probe.reduce()),
                    )
                },
            };
        };
    };
}

/// Asserts that a concrete type is an operation; not part of the public interface.
#[doc(hidden)]
#[macro_export]
macro_rules! __assert_operation {
    ($type:ty) => {
        const _: () = {
            use $crate::__private::Otherwise as _;

            ::core::assert!(
                $crate::__private::TypeProbe::<$type>::OPERATION
                    + $crate::__private::TypeProbe::<$type>::ASYNC_OPERATION
                    + $crate::__private::TypeProbe::<$type>::MONOID
                    == 1,
                ::core::concat!(
                    "`",
                    ::core::stringify!($type),
                    "` is registered, so it must implement exactly one of `Operation`, \
                     `AsyncOperation` and `Monoid`"
                )
            );
        };
    };
}

/// Places an instance of a generic operation in the registry, under a name of its own.
///
/// `#[derive(RemoteExecute)]` on a generic type cannot know its instances. Any crate can register
/// them; the name is that of the type with its arguments as they are written here
/// (`my_crate::Scale<f64>`), or the one that is given.
///
/// ```
/// use phalanx_core::{RemoteExecute, operation::{Operation, Result, TaskContext}, register};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, RemoteExecute)]
/// #[remote(crate = phalanx_core)]
/// struct Scale<T>(T);
///
/// impl Operation for Scale<f64> {
///     type Input = f64;
///     type Output = f64;
///     fn execute(&self, input: f64, _cx: &TaskContext) -> Result<f64> {
///         Ok(self.0 * input)
///     }
/// }
///
/// register!(Scale<f64> => "scale.f64");
/// ```
#[macro_export]
macro_rules! register {
    ($type:ty) => {
        $crate::__assert_operation!($type);
        $crate::__place_operation!(
            $type,
            $crate::__private::EntryName::Instance(::core::stringify!($type))
        );
    };
    ($type:ty => $name:literal) => {
        $crate::__assert_operation!($type);
        $crate::__place_operation!($type, $crate::__private::EntryName::Given($name));
    };
}
