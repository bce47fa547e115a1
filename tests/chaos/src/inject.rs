//! Injects the faults of a schedule into a fleet.

use std::error::Error;

use phalanx_test_node::PrivateNode;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::{Fault, FaultKind, FaultTarget, fleet::Fleet};

/// Injects a fault, and repairs it after its duration.
pub(crate) async fn inject(
    fleet: &Fleet,
    fault: Fault,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let Fault { kind, target, length } = fault;
    let _turn = match kind.needs_own_node() || kind.needs_cluster() {
        true => Some(fleet.broker_turn.lock().await),
        false => None,
    };
    let workers = &fleet.workers.all;
    // Each kind of fault uses only one of these.
    let (worker, node) = match target {
        FaultTarget::Worker(worker) => (&workers[worker], 0),
        FaultTarget::Leader => (&workers[0], 0),
        FaultTarget::Node(node) => (&workers[0], node),
    };
    match kind {
        FaultKind::KillWorker => worker.kill(),
        FaultKind::DrainWorker => worker.drain(),
        FaultKind::KillWorkers => {
            workers.iter().for_each(|worker| worker.pause());
            workers.iter().for_each(|worker| worker.kill());
            sleep(length).await;
            workers.iter().for_each(|worker| worker.resume());
        }
        FaultKind::SuspendWorker => {
            worker.signal(Signal::STOP);
            sleep(length).await;
            worker.signal(Signal::CONT);
        }
        FaultKind::SuspendLeader => {
            fleet.leader.signal(Signal::STOP);
            sleep(length).await;
            fleet.leader.signal(Signal::CONT);
        }
        FaultKind::SuspendBroker => {
            fleet.with_node(|node| node.suspend()).await?;
            sleep(length).await;
            fleet.with_node(|node| node.resume()).await?;
        }
        FaultKind::KillBroker => {
            // In one step, while the broker is locked: no other fault may be injected into a dead
            // broker.
            let down = move |node: &mut PrivateNode| {
                node.kill()?;
                std::thread::sleep(length);
                node.restart()
            };
            fleet.with_node(down).await?;
        }
        FaultKind::RestartBroker => fleet.with_node(PrivateNode::restart).await?,
        FaultKind::Alarm => {
            let set = |mark: &'static str| {
                fleet.with_node(move |node| node.control(&["set_vm_memory_high_watermark", mark]))
            };
            set("0.000001").await?;
            sleep(length).await;
            set("0.6").await?;
        }
        FaultKind::Cut => fleet.proxy(target).cut(),
        FaultKind::Stall | FaultKind::Discard | FaultKind::Delay => {
            let proxy = fleet.proxy(target);
            proxy.set(fault.traffic());
            sleep(length).await;
            proxy.set(phalanx_test_proxy::Traffic::Forward);
            if kind == FaultKind::Discard {
                proxy.cut();
            }
        }
        FaultKind::KillNode => {
            fleet.with_cluster(move |cluster| cluster.kill(node)).await?;
            sleep(length).await;
            fleet.with_cluster(move |cluster| cluster.revive(node)).await?;
        }
        FaultKind::FreezeNode => {
            fleet.with_cluster(move |cluster| cluster.freeze(node)).await?;
            sleep(length).await;
            fleet.with_cluster(move |cluster| cluster.thaw(node)).await?;
        }
        FaultKind::PartitionNode => {
            fleet.with_cluster(move |cluster| cluster.partition(node)).await?;
            sleep(length).await;
            fleet.with_cluster(move |cluster| cluster.rejoin(node)).await?;
        }
        FaultKind::DeleteQueue => {
            let channel = fleet.workers.raw().await?.create_channel().await?;
            let name = format!("{}.task.default", fleet.workers.namespace());
            channel.queue_delete(name.into(), Default::default()).await?;
        }
    }
    if kind.needs_cluster() {
        // Two of three nodes must be up, so this one is back before the next fault affects a node.
        fleet.with_cluster(|cluster| cluster.await_all()).await?;
    }
    Ok(())
}
