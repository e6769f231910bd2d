//! Draws: demands, arrivals, entries, functions.

use std::time::Duration;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp1, LogNormal, Pareto};

use super::queue::Nanos;
use super::scenario::{Cell, Demand, Entry, Rate};
use crate::topology::NodeIndex;

/// Seconds of one core that one invocation needs.
pub(super) fn demand_s<R: Rng>(demand: Demand, rng: &mut R) -> f64 {
    match demand {
        Demand::Constant(time) => time.as_secs_f64(),
        Demand::Lognormal(mean, sigma) => {
            // The mean of a lognormal is exp(mu + sigma²/2).
            let mu = mean.as_secs_f64().ln() - sigma * sigma / 2.0;
            LogNormal::new(mu, sigma).map_or(mean.as_secs_f64(), |d| d.sample(rng))
        }
        Demand::Pareto(mean, shape) => {
            let scale = mean.as_secs_f64() * (shape - 1.0) / shape;
            Pareto::new(scale, shape).map_or(mean.as_secs_f64(), |d| d.sample(rng))
        }
        Demand::Bimodal(usual, rare, probability) => {
            if rng.random::<f64>() < probability { rare } else { usual }.as_secs_f64()
        }
    }
}

/// The function of one invocation, as an index of the cell's.
pub(super) fn function<R: Rng>(cell: &Cell, rng: &mut R) -> usize {
    let total: f64 = cell.functions.iter().map(|f| f.weight).sum();
    let mut draw = rng.random::<f64>() * total;
    for (index, function) in cell.functions.iter().enumerate() {
        draw -= function.weight;
        if draw < 0.0 {
            return index;
        }
    }
    cell.functions.len() - 1
}

/// Where one invocation comes in.
pub(super) fn entry<R: Rng>(entry: &Entry, now: Nanos, rng: &mut R) -> NodeIndex {
    let turn = (now / (entry.turn.as_nanos() as Nanos).max(1)) as usize % entry.turns.len();
    let shares = &entry.turns[turn].0;
    let draw = rng.random::<f64>();
    let at = shares.partition_point(|(_, reached)| *reached <= draw);
    shares[at.min(shares.len() - 1)].0
}

/// An exponential time with this mean.
pub(super) fn exponential<R: Rng>(mean: Duration, rng: &mut R) -> Nanos {
    let draw: f64 = Exp1.sample(rng);
    (mean.as_nanos() as f64 * draw) as Nanos
}

/// Time from `now` to the next arrival of a Poisson process whose rate changes (by thinning).
pub(super) fn next_arrival<R: Rng>(rate: &Rate, now: Nanos, rng: &mut R) -> Option<Nanos> {
    const DRAWS_MAX: usize = 100_000;
    let highest = highest(rate);
    let mut at = now;
    for _ in 0..DRAWS_MAX {
        at += exponential(Duration::from_secs_f64(1.0 / highest.max(1e-9)), rng);
        if rng.random::<f64>() * highest < rate_at(rate, at) {
            return Some(at - now);
        }
    }
    None
}

fn highest(rate: &Rate) -> f64 {
    match rate {
        Rate::Steps(steps) => steps.iter().map(|(_, rate)| *rate).fold(0.0, f64::max),
        Rate::Bursts { high, low, .. } => high.max(*low),
        Rate::Diurnal { mean, .. } => 2.0 * mean,
    }
}

/// Invocations per second at `now`.
pub(super) fn rate_at(rate: &Rate, now: Nanos) -> f64 {
    match rate {
        Rate::Steps(steps) => {
            let begun = steps.iter().rev().find(|(from, _)| from.as_nanos() as Nanos <= now);
            begun.map_or(0.0, |(_, rate)| *rate)
        }
        Rate::Bursts { high, low, on, off } => {
            let (on, off) = (on.as_nanos() as Nanos, off.as_nanos() as Nanos);
            if now % (on + off).max(1) < on { *high } else { *low }
        }
        Rate::Diurnal { mean, period } => {
            let turn = now as f64 * 1e-9 / period.as_secs_f64();
            mean * (1.0 - (turn * std::f64::consts::TAU).cos())
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::super::scenario::EntryShares;
    use super::*;
    use crate::topology::{Address, NodeId, NodeSpec, Role, Topology, Zone};

    fn mean_of(draws: u32, mut draw: impl FnMut(&mut Pcg64) -> f64) -> f64 {
        let mut rng = Pcg64::seed_from_u64(7);
        (0..draws).map(|_| draw(&mut rng)).sum::<f64>() / f64::from(draws)
    }

    #[test]
    fn every_distribution_of_demand_has_the_mean_it_names() {
        let mean = Duration::from_millis(200);
        for (demand, within) in [
            (Demand::Constant(mean), 1e-12),
            (Demand::Lognormal(mean, 0.15), 0.001),
            (Demand::Lognormal(mean, 1.0), 0.005),
            (Demand::Pareto(mean, 3.0), 0.005),
            (Demand::Bimodal(Duration::from_millis(100), Duration::from_millis(1100), 0.1), 0.005),
        ] {
            let actual = mean_of(100_000, |rng| demand_s(demand, rng));
            assert!((actual - 0.2).abs() < within, "{demand:?}: {actual}");
        }
    }

    #[test]
    fn arrivals_follow_the_rate() {
        let rate = Rate::Bursts {
            high: 90.0,
            low: 10.0,
            on: Duration::from_secs(1),
            off: Duration::from_secs(3),
        };
        let mut rng = Pcg64::seed_from_u64(7);
        let mut now = 0;
        let mut counts = [0; 2];
        while let Some(delay) = next_arrival(&rate, now, &mut rng).filter(|_| now < 400_000_000_000)
        {
            now += delay;
            counts[usize::from(now % 4_000_000_000 >= 1_000_000_000)] += 1;
        }
        assert!((8800..9200).contains(&counts[0]), "{counts:?}");
        assert!((2850..3150).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn a_hot_spot_moves_when_its_turn_is_over() {
        let spec = |i: usize| {
            let address = Address { host: "h".into(), port: i as u16 + 1, gateway_port: 9 };
            let (id, zone) = (NodeId::new(&format!("n{i}")).unwrap(), Zone::new("z").unwrap());
            NodeSpec { id, role: Role::Worker, zone, address }
        };
        let topology = Topology::new((0..3).map(spec).collect(), None).unwrap();
        let at = |i: usize| topology.everyone()[i];
        let turns = vec![EntryShares(vec![(at(0), 1.0)]), EntryShares(vec![(at(2), 1.0)])];
        let spot = Entry { name: "moving".into(), turns, turn: Duration::from_secs(1) };
        let mut rng = Pcg64::seed_from_u64(7);
        assert_eq!(entry(&spot, 999_999_999, &mut rng), at(0));
        assert_eq!(entry(&spot, 1_000_000_000, &mut rng), at(2));
        assert_eq!(entry(&spot, 2_000_000_000, &mut rng), at(0));
    }
}
