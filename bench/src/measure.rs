//! Measuring: both sides take turns, and the median of their runs counts.

use std::time::Instant;

use anyhow::Result;

/// The amount of work of a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// The number of runs of each side.
    pub(crate) runs: usize,
    /// The divisor of the usual number of elements.
    pub(crate) parts: u64,
}

impl Effort {
    pub(crate) fn elements(self, usual: u64) -> u64 {
        (usual / self.parts).max(1)
    }

    /// The medians of both sides, in elements per second. They take turns, so that other load on the
    /// machine hits both. A first run of each, a tenth as long, opens connections and declares queues.
    pub(crate) async fn side_by_side(
        self,
        mut ours: (u64, impl AsyncFnMut(u64) -> Result<()>),
        mut peer: (u64, impl AsyncFnMut(u64) -> Result<()>),
    ) -> Result<(f64, f64)> {
        let (our_elements, peer_elements) = (self.elements(ours.0), self.elements(peer.0));
        ours.1(our_elements.div_ceil(10)).await?;
        peer.1(peer_elements.div_ceil(10)).await?;
        let (mut our_rates, mut peer_rates) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            our_rates.push(rate(our_elements, &mut ours.1).await?);
            peer_rates.push(rate(peer_elements, &mut peer.1).await?);
        }
        Ok((median(our_rates), median(peer_rates)))
    }
}

/// Elements per second.
async fn rate(elements: u64, run: &mut impl AsyncFnMut(u64) -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    run(elements).await?;
    Ok(elements as f64 / begin.elapsed().as_secs_f64())
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (lower, upper) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    f64::midpoint(lower, upper)
}
