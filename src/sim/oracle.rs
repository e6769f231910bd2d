//! The clairvoyant: who knows everything, and takes the best for each invocation by itself.

use super::call::MachineId;
use super::scenario::Demand;
use super::world::{World, nanos};

/// The machine with the least expected completion, from the true delays, mean demands, speeds and
/// numbers in flight, requests on their way included.
pub(super) fn target(world: &mut World<'_>, entry: MachineId, function: usize) -> MachineId {
    let now = world.queue.now();
    let description = &world.trial.cell.functions[function];
    let mean_s = mean_s(description.demand);
    let mut best = (f64::INFINITY, entry);
    for machine in 0..world.fleet.members.len() as MachineId {
        let way = world.transit(entry, machine, description.bytes[0])
            + world.transit(machine, entry, description.bytes[1]);
        let cut = world.is_cut(entry, machine);
        let member = &mut world.fleet.members[machine as usize];
        if member.ails.stopped || member.ails.left || cut {
            continue;
        }
        let there = f64::from(member.coming) + member.processor.running() as f64;
        let share = ((there + 1.0) / f64::from(member.processor.cores())).max(1.0);
        let wait = member.processor.would_wait(function, description.cold_start, now)
            + nanos(description.wait_at(machine as usize));
        let failing = 1.0 / (1.0 - member.ails.failing).max(1e-3);
        let takes = (way + wait) as f64 * 1e-9 + mean_s * share / member.processor.speed();
        if takes * failing < best.0 {
            best = (takes * failing, machine);
        }
    }
    best.1
}

fn mean_s(demand: Demand) -> f64 {
    match demand {
        Demand::Constant(mean) | Demand::Lognormal(mean, _) | Demand::Pareto(mean, _) => {
            mean.as_secs_f64()
        }
        Demand::Bimodal(usual, rare, probability) => {
            usual.as_secs_f64() * (1.0 - probability) + rare.as_secs_f64() * probability
        }
    }
}
