//! Does to a fleet what a schedule says.

use std::error::Error;

use phalanx_test_node::PrivateNode;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::{Fault, FaultKind, Party, fleet::Fleet};

/// Does it, and undoes it.
pub(crate) async fn inject(
    fleet: &Fleet,
    fault: Fault,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let Fault { kind, party, length } = fault;
    let _turn = match kind.is_of_the_broker() || kind.is_of_a_cluster() {
        true => Some(fleet.broker_turn.lock().await),
        false => None,
    };
    let places = &fleet.workers.places;
    let (place, node) = match party {
        Party::Worker(place) => (&places[place], 0),
        Party::Leader => (&places[0], 0),
        Party::Node(node) => (&places[0], node),
    };
    match kind {
        FaultKind::KillWorker => place.kill(),
        FaultKind::DrainWorker => place.drain(),
        FaultKind::KillWorkers => {
            places.iter().for_each(|place| place.open(true));
            places.iter().for_each(|place| place.kill());
            sleep(length).await;
            places.iter().for_each(|place| place.open(false));
        }
        FaultKind::SuspendWorker => {
            place.signal(Signal::STOP);
            sleep(length).await;
            place.signal(Signal::CONT);
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
            // In one go: nobody else may find the broker dead.
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
        FaultKind::Cut => fleet.proxy(party).cut(),
        FaultKind::Stall | FaultKind::Silence | FaultKind::Slow => {
            let proxy = fleet.proxy(party);
            proxy.set(fault.way());
            sleep(length).await;
            proxy.set(phalanx_test_proxy::Way::Open);
            if kind == FaultKind::Silence {
                proxy.cut();
            }
        }
        FaultKind::LoseNode => {
            fleet.with_cluster(move |cluster| cluster.kill(node)).await?;
            sleep(length).await;
            fleet.with_cluster(move |cluster| cluster.revive(node)).await?;
        }
        FaultKind::FreezeNode => {
            fleet.with_cluster(move |cluster| cluster.freeze(node)).await?;
            sleep(length).await;
            fleet.with_cluster(move |cluster| cluster.thaw(node)).await?;
        }
        FaultKind::PartNode => {
            fleet.with_cluster(move |cluster| cluster.part(node)).await?;
            sleep(length).await;
            fleet.with_cluster(move |cluster| cluster.rejoin(node)).await?;
        }
        FaultKind::DeleteQueue => {
            let channel = fleet.workers.raw().await?.create_channel().await?;
            let name = format!("{}.task.default", fleet.workers.namespace());
            channel.queue_delete(name.into(), Default::default()).await?;
        }
    }
    if kind.is_of_a_cluster() {
        // Of any two nodes one must be there: the next is touched when this one is back.
        fleet.with_cluster(|cluster| cluster.await_all()).await?;
    }
    Ok(())
}
