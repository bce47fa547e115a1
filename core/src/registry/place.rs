//! The macros that place operations in the registry.

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
                description: $crate::__private::Description::of(
                    [
                        $crate::__private::TypeProbe::<$type>::BLOCKING,
                        $crate::__private::TypeProbe::<$type>::ASYNCHRONOUS,
                        $crate::__private::TypeProbe::<$type>::FOLDING,
                    ],
                    [
                        $crate::__private::TypeProbe::<$type>::FILTER,
                        $crate::__private::TypeProbe::<$type>::ASYNC_FILTER,
                    ],
                    [
                        $crate::__private::TypeProbe::<$type>::FLAT_MAP,
                        $crate::__private::TypeProbe::<$type>::ASYNC_FLAT_MAP,
                    ],
                    $crate::__private::TypeProbe::<$type>::REDUCE,
                    [
                        [
                            $crate::__private::TypeProbe::<$type>::OUTPUT_ORDER,
                            $crate::__private::TypeProbe::<$type>::ASYNC_OUTPUT_ORDER,
                        ],
                        [
                            $crate::__private::TypeProbe::<$type>::INPUT_ORDER,
                            $crate::__private::TypeProbe::<$type>::ASYNC_INPUT_ORDER,
                        ],
                        [
                            $crate::__private::TypeProbe::<$type>::ITEM_ORDER,
                            $crate::__private::TypeProbe::<$type>::ASYNC_ITEM_ORDER,
                        ],
                    ],
                ),
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
                    "` is registered for remote execution, so it must implement exactly one of \
                     `Operation`, `AsyncOperation` and `Monoid`"
                )
            );
        };
    };
}

/// Registers an instance of a generic operation under its own name.
///
/// `#[derive(RemoteExecute)]` on a generic type registers none of its instances. Any crate can
/// register one; its name is the name of the type with the arguments as they are written here
/// (`my_crate::Scale<f64>`), or the name that is given.
///
/// ```
/// # use phalanx::prelude::*;
/// #[derive(Serialize, Deserialize, RemoteExecute)]
/// struct Scale<T>(T);
///
/// impl Operation for Scale<f64> {
///     type Input = f64;
///     type Output = f64;
///
///     fn execute(&self, length: f64, _cx: &TaskContext) -> Result<f64> {
///         Ok(length * self.0)
///     }
/// }
///
/// phalanx::register!(Scale<f64> => "scale.f64");
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let scaled = IndexedStream::from([1.0, 2.5]).map(Scale(2.0)).collect(&runtime).await?;
/// assert_eq!(scaled, [2.0, 5.0]);
/// # Ok(())
/// # }
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
