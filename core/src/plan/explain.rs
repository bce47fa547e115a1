//! Plans as text.

use std::fmt::{self, Write};

use super::{
    Backoff, End, Exchange, ExchangeKind, Inlet, OnFailure, Outlet, Plan, Side, Stage, StepPlan,
};
use crate::{
    registry::{DEFAULT_RETRIES, Sample},
    wire::Combine,
};

/// Describes a plan: its sources, the steps that run together, their pools, and its end.
pub(super) fn explain(plan: &Plan, inputs: &[(u64, Option<u64>)]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_plan(&mut text, plan, inputs);
    text
}

fn write_plan(out: &mut String, plan: &Plan, inputs: &[(u64, Option<u64>)]) -> fmt::Result {
    for (number, stage) in plan.stages.iter().enumerate() {
        match plan.inlet(number) {
            Inlet::Source(source) => {
                let input = inputs.get(source).copied().unwrap_or_default();
                let label = match plan.sources() {
                    1 => "source   ".to_owned(),
                    _ => format!("source {source}: "),
                };
                writeln!(out, "{label}{}", describe_input(input))?;
            }
            Inlet::Stage(_) if stage.numbered => {}
            Inlet::Stage(_) => writeln!(out, "         (elements pass through the leader)")?,
            Inlet::Exchange(exchange) => write_exchange(out, &plan.exchanges[exchange])?,
        }
        if stage.numbered {
            writeln!(out, "         (elements pass through the leader, which numbers them)")?;
        }
        write_stage(out, plan, number, stage)?;
    }
    if let 2.. = plan.branches() {
        let last = (0..plan.stages.len()).filter(|stage| plan.is_last(*stage));
        writeln!(out, "union    of the outputs of {}", stages(last))?;
    }
    writeln!(out, "end      {}", describe_end(plan))
}

fn write_exchange(out: &mut String, exchange: &Exchange) -> fmt::Result {
    let by = match exchange.kind {
        ExchangeKind::Zip => "by number",
        kind if kind.is_by_element() => "by the whole element",
        _ => "by key",
    };
    let combined = match exchange.kind.combine(Side::First) {
        Combine::Nothing | Combine::Whole => "",
        _ => ", combined before they travel",
    };
    let partitions = match exchange.partitions {
        Some(count) if count.get() == 1 => "1 partition".to_owned(),
        Some(count) => format!("{count} partitions"),
        None => "partitions by the number of slots".to_owned(),
    };
    let name = exchange.kind.name();
    let (first, second) = exchange.feeders.split_at(exchange.first_side);
    let mut feeders = stages(first.iter().copied());
    if !second.is_empty() {
        feeders = format!("{feeders} with those of {}", stages(second.iter().copied()));
    }
    writeln!(out, "exchange {name} of the outputs of {feeders}, {by}{combined}, {partitions}")?;
    // A plan does not know the size of the blocks.
    writeln!(out, "blocks   in replies and tasks; beyond `block_memory`, in queues of the broker")
}

fn stages(numbers: impl Iterator<Item = usize>) -> String {
    let numbers: Vec<String> = numbers.map(|stage| stage.to_string()).collect();
    let noun = if numbers.len() == 1 { "stage" } else { "stages" };
    format!("{noun} {}", numbers.join(", "))
}

fn describe_input(input: (u64, Option<u64>)) -> String {
    match input {
        // The size hint of endless iterators.
        (least, None) if least >= usize::MAX as u64 => "endless".to_owned(),
        (1, Some(1)) => "1 element".to_owned(),
        (least, Some(most)) if least == most => format!("{most} elements"),
        (0, Some(most)) => format!("at most {most} elements"),
        (0, None) => "of unknown length".to_owned(),
        (least, Some(most)) => format!("{least} to {most} elements"),
        (least, None) => format!("at least {least} elements"),
    }
}

fn write_stage(out: &mut String, plan: &Plan, number: usize, stage: &Stage) -> fmt::Result {
    let label = format!("stage {number}");
    let reads = matches!(plan.inlet(number), Inlet::Exchange(_));
    let feeds = matches!(plan.outlet(number), Outlet::Exchange { .. });
    let pass = match stage.steps.len() {
        0 if reads || feeds => "no steps".to_owned(),
        0 if stage.numbered => return writeln!(out, "{label:<9}no steps, at the leader"),
        0 => return writeln!(out, "{label:<9}no steps: the input itself, at the leader"),
        1 => "one step".to_owned(),
        steps => format!("{steps} steps fused into one pass"),
    };
    let batch = match stage.batch {
        _ if reads => "tasks of whole partitions".to_owned(),
        Some(1) => "tasks of 1 element".to_owned(),
        Some(elements) => format!("tasks of {elements} elements"),
        None => "tasks of adaptive size".to_owned(),
    };
    writeln!(out, "{label:<9}pool `{}`, {pass}, {batch}", stage.pool)?;
    stage.steps.iter().try_for_each(|step| write_step(out, step))
}

fn write_step(out: &mut String, step: &StepPlan) -> fmt::Result {
    let mut notes = Vec::new();
    if step.is_async {
        notes.push("asynchronous".to_owned());
    }
    if let Some(timeout) = step.reference.timeout {
        notes.push(format!("timeout {timeout:?}"));
    }
    if step.retries != DEFAULT_RETRIES {
        notes.push(format!("retries {}", step.retries));
    }
    if step.backoff != Backoff::default() {
        let (from, to) = step.backoff.bounds();
        notes.push(format!("back-off {from:?} to {to:?}"));
    }
    if step.on_failure == OnFailure::Skip {
        notes.push("skips failed elements".to_owned());
    }
    let notes = if notes.is_empty() { String::new() } else { format!("  ({})", notes.join(", ")) };
    let verb = step.reference.verb.name();
    if let Ok(Some(sample)) = Sample::of(&step.reference) {
        return writeln!(out, "           {verb:<8} {sample}");
    }
    if !step.reference.verb.has_operation() {
        return writeln!(out, "           {verb}");
    }
    // A space follows a long verb, too.
    let verb = format!("{verb:<8} ");
    writeln!(out, "           {verb}{}{notes}", step.reference.name)
}

fn describe_end(plan: &Plan) -> String {
    match &plan.end {
        End::Stream { ordered, take } => {
            let order = if *ordered { "in input order" } else { "as completed" };
            match take {
                Some(1) => format!("a stream, {order}, cut after 1 element"),
                Some(most) => format!("a stream, {order}, cut after {most} elements"),
                None => format!("a stream, {order}"),
            }
        }
        End::Top { most: 1, .. } => "the largest element".to_owned(),
        End::Top { most, .. } => format!("the {most} largest elements"),
        End::Fold { deterministic: false, .. } => "one value, folded in input order".to_owned(),
        End::Fold { deterministic: true, .. } => {
            "one value, folded in input order, by a tree of fixed shape".to_owned()
        }
        End::Count => "the number of elements".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        plan::{Origin, PlanBuilder, program::tests::directive, stage::cut},
        registry::Verb,
    };

    #[test]
    fn a_plan_shows_its_stages_steps_and_pools() {
        let mut fetch = directive(Verb::Map, "crawler::Fetch", "io");
        fetch.step.is_async = true;
        fetch.step.retries = 5;
        fetch.step.on_failure = OnFailure::Skip;
        fetch.set_backoff(Duration::from_secs(1), Duration::from_secs(300)).unwrap();
        fetch.set_timeout(Duration::from_secs(30));
        let chain = [
            fetch,
            directive(Verb::FlatMap, "crawler::Words", "default"),
            directive(Verb::Fold, "crawler::Sum", "default"),
        ];
        let end = End::Fold { empty: None, deterministic: false };
        let plan = Plan::chain(cut(&chain, Some(100), false), end);
        assert_eq!(
            explain(&plan, &[(0, None)]),
            "\
source   of unknown length
stage 0  pool `io`, one step, tasks of 100 elements
           map      crawler::Fetch  (asynchronous, timeout 30s, retries 5, back-off 1s to 300s, skips failed elements)
         (elements pass through the leader)
stage 1  pool `default`, 2 steps fused into one pass, tasks of adaptive size
           flat_map crawler::Words
           fold     crawler::Sum
end      one value, folded in input order
"
        );
    }

    #[test]
    fn a_plan_without_steps_is_one_stage_at_the_leader() {
        let end = End::Stream { ordered: true, take: Some(3) };
        let plan = Plan::chain(cut(&[], None, false), end);
        assert_eq!(
            explain(&plan, &[(10, Some(10))]),
            "\
source   10 elements
stage 0  no steps: the input itself, at the leader
end      a stream, in input order, cut after 3 elements
"
        );
    }

    #[test]
    fn a_plan_of_a_union_shows_each_branch() {
        let branch = |pool| cut(&[directive(Verb::Map, "a", pool)], None, false);
        let end = End::Stream { ordered: false, take: None };
        let mut builder = PlanBuilder::default();
        builder.chain(&Origin::Source, branch("x"), Outlet::End(0));
        builder.chain(&Origin::Source, branch("y"), Outlet::End(1));
        let plan = builder.finish(end);
        assert_eq!(
            explain(&plan, &[(1, Some(1)), (2, Some(2))]),
            "\
source 0: 1 element
stage 0  pool `x`, one step, tasks of adaptive size
           map      a
source 1: 2 elements
stage 1  pool `y`, one step, tasks of adaptive size
           map      a
union    of the outputs of stages 0, 1
end      a stream, as completed
"
        );
    }
}
