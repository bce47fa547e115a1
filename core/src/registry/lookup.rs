//! Looking up the operations of this program by name.

use std::{
    any::TypeId,
    collections::HashMap,
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    CompiledStep, FingerprintMode, OperationEntry, OperationKind, PHALANX_OPERATIONS, Refusal,
    RegistryError, StepReference, Verb,
    description::{Description, TypeRole},
    entry::EntryName,
    execution::{BoundStep, RowStep, caught},
    structure::Trace,
};
use crate::{
    codec::{self, Known},
    operation::RemoteExecute,
};

/// How often an element is retried after transient errors and timeouts, if neither the operation
/// nor the program sets a number.
pub(crate) const DEFAULT_RETRIES: u32 = 3;

/// The most names in a [`Refusal::UnknownOperation`].
const MOST_KNOWN: usize = 100;

/// The operations that are linked into this program, by name.
///
/// Use it to list the operations that a program can run, or to check in a test that a name or a
/// fingerprint has not changed.
///
/// ```
/// # use phalanx::prelude::*;
/// use phalanx::registry::Registry;
///
/// #[operation(name = "billing.price", version = 2, pool = "billing")]
/// fn price(article: u32) -> u64 {
///     u64::from(article) * 100
/// }
///
/// let registry = Registry::global()?;
/// assert!(registry.iter().any(|operation| operation.name() == "billing.price"));
///
/// let price = registry.get("billing.price").unwrap();
/// assert_eq!((price.version(), price.pool(), price.retries()), (2, Some("billing"), 3));
/// assert_eq!(price.structure(), "version 2, state (), input u32, output u64");
/// # Ok::<(), phalanx::registry::RegistryError>(())
/// ```
#[derive(Debug)]
pub struct Registry {
    /// Sorted by name, no two of one name.
    operations: Vec<Registered>,
    by_type: HashMap<TypeId, usize>,
}

/// A registered operation, with the options that it declares. From [`Registry`].
///
/// ```
/// # use std::time::Duration;
/// # use phalanx::prelude::*;
/// use phalanx::registry::{OperationKind, Registry};
///
/// #[operation(name = "pages.fetch", version = 3, pool = "io", timeout = "30s", retries = 5)]
/// async fn fetch(url: String) -> Result<usize> {
///     Ok(url.len())
/// }
///
/// let fetch = Registry::global()?.get("pages.fetch").unwrap();
/// assert_eq!((fetch.name(), fetch.version(), fetch.pool()), ("pages.fetch", 3, Some("io")));
/// assert_eq!((fetch.timeout(), fetch.retries()), (Some(Duration::from_secs(30)), 5));
/// assert!(fetch.is_async() && fetch.kind() == OperationKind::Asynchronous);
/// assert_eq!(fetch.structure(), "version 3, state (), input str, output u64");
/// # Ok::<(), phalanx::registry::RegistryError>(())
/// ```
#[derive(Debug)]
pub struct Registered {
    name: String,
    entry: &'static OperationEntry,
    /// Computed on first use: most programs use few of their operations.
    described: OnceLock<Described>,
}

#[derive(Debug)]
struct Described {
    fingerprint: u64,
    structure: String,
    unsupported: Option<RegistryError>,
}

impl Registry {
    /// The registry of this program. Built by the first call.
    ///
    /// # Errors
    /// If two operations have the same name.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// use phalanx::registry::Registry;
    ///
    /// assert!(Registry::global().is_ok());
    /// ```
    pub fn global() -> Result<&'static Self, RegistryError> {
        static GLOBAL: LazyLock<Result<Registry, RegistryError>> =
            LazyLock::new(|| Registry::of(PHALANX_OPERATIONS.iter()));
        GLOBAL.as_ref().map_err(Clone::clone)
    }

    fn of(entries: impl Iterator<Item = &'static OperationEntry>) -> Result<Self, RegistryError> {
        let mut operations: Vec<Registered> = entries.filter_map(Registered::new).collect();
        // The order of the entries is undefined; sorting by place makes errors repeatable.
        operations.sort_by(|a, b| (&a.name, a.entry.place).cmp(&(&b.name, b.entry.place)));
        for pair in operations.windows(2) {
            // An invalid name is an error where it is used.
            if pair[0].name == pair[1].name && is_name(&pair[0].name) {
                return Err(RegistryError::Duplicate {
                    name: pair[0].name.clone(),
                    places: [pair[0].place().to_owned(), pair[1].place().to_owned()],
                });
            }
        }
        // A type can be registered under several names: plans use the first.
        let by_type = operations
            .iter()
            .enumerate()
            .rev()
            .map(|(index, operation)| ((operation.entry.type_id)(), index))
            .collect();
        Ok(Self { operations, by_type })
    }

    /// The operation with this name, if there is one.
    ///
    /// ```
    /// use phalanx::registry::Registry;
    ///
    /// let registry = Registry::global()?;
    /// assert!(registry.get("no.such.operation").is_none());
    /// # Ok::<(), phalanx::registry::RegistryError>(())
    /// ```
    pub fn get(&self, name: &str) -> Option<&Registered> {
        let index =
            self.operations.binary_search_by(|operation| operation.name.as_str().cmp(name)).ok()?;
        self.operations.get(index)
    }

    /// All operations, sorted by name.
    ///
    /// ```
    /// use phalanx::registry::Registry;
    ///
    /// for operation in Registry::global()?.iter() {
    ///     println!("{} ({})", operation.name(), operation.place());
    /// }
    /// # Ok::<(), phalanx::registry::RegistryError>(())
    /// ```
    pub fn iter(&self) -> std::slice::Iter<'_, Registered> {
        self.operations.iter()
    }

    /// The reference to an operation that is sent to workers: its name, fingerprint and state.
    ///
    /// # Errors
    /// If the type is not registered, its name is invalid, its types cannot be encoded or do not
    /// allow the verb, or its state does not serialize.
    pub fn reference<O: RemoteExecute>(
        &self,
        operation: &O,
        verb: Verb,
    ) -> Result<(StepReference, &Registered), RegistryError> {
        let registered = self
            .by_type
            .get(&TypeId::of::<O>())
            .and_then(|index| self.operations.get(*index))
            .ok_or_else(|| RegistryError::Unregistered { type_name: std::any::type_name::<O>() })?;
        registered.check(verb)?;
        let state = caught(|| codec::encode_checked(operation))
            .map_err(|panic| panic.to_string())
            .and_then(|encoded| encoded.map_err(|error| error.to_string()))
            .map_err(|reason| RegistryError::State { name: registered.name.clone(), reason })?;
        let reference = StepReference {
            name: registered.name.clone(),
            fingerprint: registered.fingerprint(),
            verb,
            timeout: registered.timeout(),
            state: state.into(),
        };
        Ok((reference, registered))
    }

    /// Decodes the state of a step, and returns the step ready to run.
    ///
    /// # Errors
    /// If this program is built differently from the one that made the step.
    pub fn compile(&self, step: &StepReference) -> Result<Box<dyn CompiledStep>, Refusal> {
        if !step.verb.has_operation() {
            return Ok(Box::new(RowStep(step.verb)));
        }
        let registered = self.get(&step.name).ok_or_else(|| self.unknown(&step.name))?;
        let described = registered.described();
        let (name, verb) = (step.name.clone(), step.verb);
        if described.fingerprint != step.fingerprint {
            return Err(Refusal::Fingerprint { name, structure: described.structure.clone() });
        }
        let description = registered.entry.description;
        let Some((bind, entry)) =
            description.and_then(|known| Some((known.bind, known.verb(verb)?)))
        else {
            return Err(Refusal::Verb { name, verb });
        };
        let state = caught(|| bind(&step.state))
            .map_err(|panic| panic.to_string())
            .and_then(|bound| bound.map_err(|error| error.to_string()))
            .map_err(|reason| Refusal::State { name, reason })?;
        Ok(Box::new(BoundStep { name: step.name.clone(), verb, entry, state }))
    }

    fn unknown(&self, name: &str) -> Refusal {
        let names = self.iter().map(|operation| &operation.name).filter(|name| is_name(name));
        let known = names.take(MOST_KNOWN).cloned().collect();
        Refusal::UnknownOperation { name: name.to_owned(), known }
    }
}

impl<'a> IntoIterator for &'a Registry {
    type Item = &'a Registered;
    type IntoIter = std::slice::Iter<'a, Registered>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Registered {
    fn new(entry: &'static OperationEntry) -> Option<Self> {
        let declared = entry.declaration.name;
        let name = match entry.name {
            EntryName::Placeholder => return None,
            EntryName::Declared => declared.to_owned(),
            EntryName::Given(name) => name.to_owned(),
            EntryName::Instance(type_text) => {
                let arguments = type_text.find('<').map_or("", |at| &type_text[at..]);
                let arguments: String = arguments.split_whitespace().collect();
                format!("{declared}{arguments}")
            }
        };
        Some(Self { name, entry, described: OnceLock::new() })
    }

    /// The name by which workers find the operation.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The declared version; default 0.
    pub fn version(&self) -> u32 {
        self.entry.declaration.version
    }

    /// The file and line of the derive, of `#[operation]` or of `register!`.
    pub fn place(&self) -> &'static str {
        self.entry.place
    }

    /// The declared pool; `None` is the pool `default`.
    pub fn pool(&self) -> Option<&'static str> {
        self.entry.declaration.pool
    }

    /// The declared timeout of one element; `None` is no limit.
    pub fn timeout(&self) -> Option<Duration> {
        self.entry.declaration.timeout
    }

    /// The declared number of retries of one element after transient errors and timeouts; default
    /// 3.
    pub fn retries(&self) -> u32 {
        self.entry.declaration.retries.unwrap_or(DEFAULT_RETRIES)
    }

    /// The declared back-off before the retries of an element, from the first to the longest;
    /// `None` is 100 ms to 30 s.
    pub fn backoff(&self) -> Option<(Duration, Duration)> {
        self.entry.declaration.backoff
    }

    /// The trait that the operation implements.
    pub fn kind(&self) -> OperationKind {
        self.entry.description.map_or(OperationKind::Blocking, |known| known.kind)
    }

    /// Whether the operation is an [`AsyncOperation`](crate::operation::AsyncOperation).
    pub fn is_async(&self) -> bool {
        self.kind() == OperationKind::Asynchronous
    }

    /// A hash of the version and the structure of the types. Workers refuse operations with another
    /// fingerprint.
    ///
    /// In a program that is built with `panic = "abort"`, only of the version: the structure is
    /// found with made-up values, and a type whose checks panic on them would end the process. Build
    /// leader and workers alike.
    pub fn fingerprint(&self) -> u64 {
        self.described().fingerprint
    }

    /// The version, and the structure of state, input and output, as text.
    pub fn structure(&self) -> &str {
        &self.described().structure
    }

    fn described(&self) -> &Described {
        self.described.get_or_init(|| self.describe(cfg!(panic = "abort")))
    }

    /// If a panic `aborts` the process, the types are not traced: the checks of a type may panic on
    /// made-up values. Their values are checked when they are encoded.
    fn describe(&self, aborts: bool) -> Described {
        let roles = self.entry.description.iter().flat_map(|known| {
            [("state", known.state), ("input", known.input), ("output", known.output)]
        });
        let roles: Vec<(&str, TypeRole)> = roles.collect();
        for (_, role) in &roles {
            Known::verify_with((role.type_id)(), role.verify);
        }
        let traces: Vec<(&str, TypeRole, Trace)> = roles
            .into_iter()
            .filter(|_| !aborts)
            .map(|(what, role)| (what, role, role.trace()))
            .collect();
        if !aborts {
            self.learn(&traces);
        }
        let unsupported = traces.iter().find_map(|(what, role, trace)| {
            trace.unsupported.as_ref().map(|unsupported| RegistryError::Unsupported {
                name: self.name.clone(),
                what,
                type_name: (role.type_name)(),
                path: unsupported.path.clone(),
                reason: unsupported.reason.clone(),
            })
        });
        let version = self.version();
        let mut structure = format!("version {version}");
        let mut hashed = version.to_le_bytes().to_vec();
        if self.entry.declaration.fingerprint == FingerprintMode::Structure {
            for (what, _, trace) in &traces {
                structure.push_str(&format!(", {what} {}", trace.text));
                hashed.extend(trace.hash.to_le_bytes());
            }
            if aborts {
                structure.push_str(", types not compared because of `panic = \"abort\"`");
            }
        }
        Described { fingerprint: xxh3_64(&hashed), structure, unsupported }
    }

    /// Teaches the codec what the traces have checked, so that it need not check it again.
    fn learn(&self, traces: &[(&str, TypeRole, Trace)]) {
        for (_, role, trace) in traces {
            Known::learn((role.type_id)(), trace.whole, trace.shapes.iter().copied());
        }
        let whole = traces.iter().all(|(_, _, trace)| trace.whole);
        let shapes = || traces.iter().flat_map(|(_, _, trace)| trace.shapes.iter().copied());
        for output in self.entry.description.iter().flat_map(Description::outputs) {
            Known::learn(output, whole, shapes());
        }
    }

    fn check(&self, verb: Verb) -> Result<(), RegistryError> {
        if !is_name(&self.name) {
            return Err(RegistryError::Name {
                name: self.name.chars().take(300).collect(),
                place: self.place().to_owned(),
            });
        }
        let described = self.described();
        if let Some(error) = &described.unsupported {
            return Err(error.clone());
        }
        match self.entry.description.and_then(|known| known.verb(verb)) {
            Some(_) => Ok(()),
            None => Err(RegistryError::Verb { name: self.name.clone(), verb }),
        }
    }
}

/// Whether a name is valid: it is sent in message properties and read by people.
fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !name.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests;
