//! The operations of this program, and the pipelines made of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use phalanx_core::registry::{CompiledStep, Refusal, Registry, StepReference};

use crate::execution::Pipeline;

/// Where compiled steps come from.
pub(crate) trait Catalogue: Send + Sync {
    /// Binds a step to its state.
    fn compile(&self, step: &StepReference) -> Result<Box<dyn CompiledStep>, Refusal>;
}

impl Catalogue for &'static Registry {
    fn compile(&self, step: &StepReference) -> Result<Box<dyn CompiledStep>, Refusal> {
        Registry::compile(self, step)
    }
}

/// Half of the pipelines that are kept.
const GENERATION: usize = 64;

/// The operations of this program, and the pipelines made of them of late.
pub(crate) struct Operations {
    catalogue: Box<dyn Catalogue>,
    pipelines: Mutex<Pipelines>,
}

/// A cache of two generations: what was not asked for while the young one filled up is dropped.
#[derive(Default)]
struct Pipelines {
    young: HashMap<Vec<StepReference>, Arc<Pipeline>>,
    old: HashMap<Vec<StepReference>, Arc<Pipeline>>,
}

impl Operations {
    pub(crate) fn new(catalogue: Box<dyn Catalogue>) -> Self {
        Self { catalogue, pipelines: Mutex::default() }
    }

    /// The steps bound to their states, made once for each distinct list of them.
    pub(crate) fn pipeline(&self, steps: &[StepReference]) -> Result<Arc<Pipeline>, Refusal> {
        if let Some(pipeline) = self.lock().get(steps) {
            return Ok(pipeline);
        }
        // Not under the lock: binding decodes a state, which is somebody's code.
        let pipeline = Arc::new(Pipeline::new(steps, |step| self.catalogue.compile(step))?);
        self.lock().insert(steps.to_vec(), Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pipelines> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipelines {
    fn get(&mut self, steps: &[StepReference]) -> Option<Arc<Pipeline>> {
        if let Some(pipeline) = self.young.get(steps) {
            return Some(Arc::clone(pipeline));
        }
        let (steps, pipeline) = self.old.remove_entry(steps)?;
        self.insert(steps, Arc::clone(&pipeline));
        Some(pipeline)
    }

    fn insert(&mut self, steps: Vec<StepReference>, pipeline: Arc<Pipeline>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(steps, pipeline);
    }
}
