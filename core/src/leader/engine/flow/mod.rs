//! Flow control: batch sizes, credit, and the slots of live workers (rules 17 to 20).

mod batch;
mod blocks;
mod credit;
mod rate;
mod workers;

use std::{collections::BTreeMap, time::Duration};

pub(crate) use batch::{Cost, Feeding, LatencyTarget, MAX_BATCH_BYTES, Sizing};
pub(crate) use blocks::{
    BlockCredit, ExchangeId, LEAST_CAP, MAX_BLOCKS, MAX_OUTPUTS, Room, output_cap,
};
pub(crate) use credit::{Lane, PoolFlow};
pub(crate) use rate::Rate;
pub(crate) use workers::Workers;

use super::table::Charge;

/// The credit of each lane. Their number is bounded by the pools of all plans that ran.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flows {
    lanes: BTreeMap<Lane, PoolFlow>,
}

impl Flows {
    pub(crate) fn get(&self, lane: &Lane) -> Option<&PoolFlow> {
        self.lanes.get(lane)
    }

    /// Charges the credit of a task that went out; `now` is in healthy time.
    pub(crate) fn charge(&mut self, lane: &Lane, charge: Charge, now: Duration) {
        self.lanes.entry(lane.clone()).or_default().charge(charge.input, now);
    }

    /// Releases the credit of a task that is no longer out.
    pub(crate) fn release(&mut self, lane: &Lane, charge: Charge) {
        if let Some(flow) = self.lanes.get_mut(lane) {
            flow.release(charge.input);
        }
    }

    /// Adapts the window to the time that a task waited at its worker.
    pub(crate) fn observe(&mut self, lane: &Lane, waited: Duration, sizing: &Sizing) {
        if let Some(flow) = self.lanes.get_mut(lane) {
            flow.observe(waited, sizing);
        }
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Lane, &PoolFlow)> {
        self.lanes.iter()
    }
}
