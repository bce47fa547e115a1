//! The pipelines that were used recently, by their steps.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use phalanx_core::registry::{Refusal, Registry, StepReference};

use crate::{execution::Pipeline, lock::lock, slots::SlotKind};

/// How many pipelines each generation of the cache holds.
const GENERATION_SIZE: usize = 64;

/// Builds pipelines from the operations of this program, and keeps those that were used recently.
pub(crate) struct Pipelines {
    registry: &'static Registry,
    cache: Mutex<Cache>,
}

/// A cache of two generations. When the young one is full it becomes the old one; pipelines that
/// were not used since the last change are dropped.
#[derive(Default)]
struct Cache {
    young: HashMap<Vec<StepReference>, Arc<Pipeline>>,
    old: HashMap<Vec<StepReference>, Arc<Pipeline>>,
}

impl Pipelines {
    pub(crate) fn new(registry: &'static Registry) -> Self {
        Self { registry, cache: Mutex::default() }
    }

    /// The kind of slots that these steps occupy. Runs no code of the user.
    pub(crate) fn kind(&self, steps: &[StepReference]) -> SlotKind {
        let is_async = |step: &StepReference| {
            self.registry.get(&step.name).is_some_and(|operation| operation.is_async())
        };
        match steps.iter().any(is_async) {
            true => SlotKind::Asynchronous,
            false => SlotKind::Blocking,
        }
    }

    /// The steps bound to their states, from the cache or newly made.
    ///
    /// # Errors
    /// If this program cannot run one of the steps.
    pub(crate) fn get(&self, steps: &[StepReference]) -> Result<Arc<Pipeline>, Refusal> {
        if let Some(pipeline) = lock(&self.cache).get(steps) {
            return Ok(pipeline);
        }
        // Not under the lock: binding decodes the state, which is user code.
        let pipeline = Arc::new(Pipeline::new(steps, |step| self.registry.compile(step))?);
        lock(&self.cache).insert(steps.to_vec(), Arc::clone(&pipeline));
        Ok(pipeline)
    }
}

impl Cache {
    fn get(&mut self, steps: &[StepReference]) -> Option<Arc<Pipeline>> {
        if let Some(pipeline) = self.young.get(steps) {
            return Some(Arc::clone(pipeline));
        }
        let (steps, pipeline) = self.old.remove_entry(steps)?;
        self.insert(steps, Arc::clone(&pipeline));
        Some(pipeline)
    }

    fn insert(&mut self, steps: Vec<StepReference>, pipeline: Arc<Pipeline>) {
        if self.young.len() >= GENERATION_SIZE {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(steps, pipeline);
    }
}
