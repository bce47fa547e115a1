//! The steps of a stage, bound to their states.

use std::time::Duration;

use phalanx_core::{
    operation::OperationError,
    registry::{
        Column, CompiledStep, FailedElement, Fold, Order, Refusal, Sample, StepReference, Verb,
    },
};

use crate::slots::SlotKind;

/// The steps of a stage, bound to their states. The default, without steps, is for executions in a
/// child process.
#[derive(Default)]
pub(crate) struct Pipeline {
    steps: Vec<Box<dyn CompiledStep>>,
    timeouts: Vec<Option<Duration>>,
    verbs: Vec<Verb>,
    samples: Vec<Option<Sample>>,
    folds: bool,
}

/// An element that failed, and the step in which it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepFailure {
    pub(crate) offset: u32,
    pub(crate) step: u32,
    pub(crate) error: OperationError,
}

impl StepFailure {
    pub(super) fn in_step(step: usize, failure: FailedElement) -> Self {
        Self { offset: failure.offset, step: step as u32, error: failure.error }
    }
}

impl Pipeline {
    /// Binds each step with `compile`.
    pub(crate) fn new(
        references: &[StepReference],
        compile: impl Fn(&StepReference) -> Result<Box<dyn CompiledStep>, Refusal>,
    ) -> Result<Self, Refusal> {
        let is_fold = |step: &StepReference| matches!(step.verb, Verb::Fold | Verb::Reduce);
        let by_key =
            |step: &StepReference| matches!(step.verb, Verb::FoldByKey | Verb::ReduceByKey);
        if let [others @ .., _] = references
            && let Some(step) = others.iter().find(|step| is_fold(step))
        {
            return Err(Refusal::Verb { name: step.name.clone(), verb: step.verb });
        }
        if let [_, others @ .., _] = references
            && let Some(step) = others.iter().find(|step| by_key(step))
        {
            return Err(Refusal::Verb { name: step.name.clone(), verb: step.verb });
        }
        Ok(Self {
            steps: references.iter().map(compile).collect::<Result<_, _>>()?,
            timeouts: references.iter().map(|step| step.timeout).collect(),
            verbs: references.iter().map(|step| step.verb).collect(),
            samples: references.iter().map(Sample::of).collect::<Result<_, _>>()?,
            folds: references.last().is_some_and(is_fold),
        })
    }

    pub(crate) fn steps(&self) -> &[Box<dyn CompiledStep>] {
        &self.steps
    }

    /// The timeout of one element in this step.
    pub(crate) fn timeout(&self, step: usize) -> Option<Duration> {
        self.timeouts.get(step).copied().flatten()
    }

    /// The shortest timeout of a blocking step, for the watchdog. Asynchronous steps enforce theirs
    /// themselves.
    pub(crate) fn watched_timeout(&self) -> Option<Duration> {
        let blocking = self.steps.iter().zip(&self.timeouts).filter(|(step, _)| !step.is_async());
        blocking.filter_map(|(_, timeout)| *timeout).min()
    }

    /// The verb of this step.
    pub(super) fn verb(&self, step: usize) -> Verb {
        self.verbs.get(step).copied().unwrap_or(Verb::Map)
    }

    /// What this step keeps, if it samples.
    pub(super) fn sample(&self, step: usize) -> Option<&Sample> {
        self.samples.get(step)?.as_ref()
    }

    /// The kind of slots that an execution occupies.
    pub(crate) fn kind(&self) -> SlotKind {
        match self.steps.iter().any(|step| step.is_async()) {
            true => SlotKind::Asynchronous,
            false => SlotKind::Blocking,
        }
    }

    /// Whether the last step folds.
    pub(crate) fn folds(&self) -> bool {
        self.folds
    }

    /// Whether each element has exactly one output.
    pub(crate) fn is_one_to_one(&self) -> bool {
        self.steps.iter().all(|step| step.is_one_to_one())
    }

    /// How the outputs of the last step are compared, if it knows.
    pub(crate) fn order(&self, by_key: bool) -> Option<Order> {
        self.steps.last().and_then(|step| step.order(by_key))
    }

    /// The index of the last step; 0 if there is none.
    pub(crate) fn last(&self) -> usize {
        self.steps.len().saturating_sub(1)
    }

    /// A new fold; `None` if the last step does not fold.
    pub(crate) fn fold(&self) -> Option<Box<dyn Fold + '_>> {
        self.steps.last().and_then(|step| step.fold())
    }

    /// Decodes the next chunk for the first step: at most `max` elements, and at most `max_bytes`
    /// bytes unless the first element is larger.
    pub(crate) fn decode(
        &self,
        bytes: &mut &[u8],
        first: u32,
        max: u32,
        max_bytes: usize,
    ) -> Result<Column, Refusal> {
        match self.steps.first() {
            Some(step) => step.decode(bytes, first, max, max_bytes),
            None => Err(Refusal::Message {
                reason: "a stage without steps decodes no elements".to_owned(),
            }),
        }
    }
}
