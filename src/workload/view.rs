//! What a manager believes about the agents.

use crate::model::{AgentOccupancy, RejectionCode, Violation};
use crate::slots::ResourceSlots;
use crate::workload::amount;

/// Amounts of the three slots that workloads ask for, in the units of the trace, so that every
/// fraction is a whole number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    pub(crate) cpu_milli: u64,
    pub(crate) mem_mib: u64,
    pub(crate) gpu_milli: u64,
}

const SLOTS: [&str; 3] = ["cpu", "mem", "cuda.shares"];

impl Demand {
    /// The same as resource slots, exactly.
    pub(crate) fn slots(self) -> ResourceSlots {
        let Self { cpu_milli, mem_mib, gpu_milli } = self;
        let mem = u128::from(mem_mib) << 20;
        let amounts = [thousandths(cpu_milli), mem.to_string(), thousandths(gpu_milli)];
        SLOTS.into_iter().zip(amounts).filter(|(_, amount)| amount != "0").collect()
    }

    /// In the order of [`SLOTS`].
    fn units(self) -> [i128; 3] {
        [self.cpu_milli, self.mem_mib, self.gpu_milli].map(i128::from)
    }
}

/// A number of thousandths as a decimal.
fn thousandths(milli: u64) -> String {
    amount::format(i128::from(milli) * (amount::ONE / 1000))
}

/// An amount from the database in the unit of the slot, rounded down.
fn in_units(slot: usize, text: &str) -> i128 {
    let unit = if SLOTS[slot] == "mem" { amount::ONE << 20 } else { amount::ONE / 1000 };
    amount::parse(text).unwrap_or_default().div_euclid(unit)
}

/// Agents with what is free of them, as far as this manager knows: from what it reserved and
/// released itself, from what rejections taught it, and from the last look at the database. The
/// database decides; a view that is behind costs a rejection.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Sorted.
    ids: Vec<String>,
    /// By the same number, in the order of [`SLOTS`].
    free: Vec<[i128; 3]>,
}

/// Which of several agents that fit is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The one of which least is left over: large sessions find room later.
    Tight,
    /// The one of which most is left over: for who kept losing the tight ones to others.
    Roomy,
}

impl View {
    /// Empty agents.
    pub(crate) fn new(agents: impl IntoIterator<Item = (String, Demand)>) -> Self {
        let mut agents: Vec<_> = agents.into_iter().collect();
        agents.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (ids, capacities): (_, Vec<_>) = agents.into_iter().unzip();
        Self { ids, free: capacities.into_iter().map(Demand::units).collect() }
    }

    pub(crate) fn agent_id(&self, agent: usize) -> &str {
        &self.ids[agent]
    }

    /// An agent for each kernel, and whether all of them fit as far as we know. A kernel that fits
    /// nowhere gets the agent that lacks least, for the database to reject.
    pub(crate) fn choose(&self, kernels: &[Demand], fit: Fit) -> (Vec<usize>, bool) {
        let mut free = self.free.clone();
        let mut all_fit = true;
        let mut chosen = Vec::with_capacity(kernels.len());
        for kernel in kernels {
            let (agent, fits) = best(&free, kernel.units(), fit);
            change(&mut free, &[(agent, *kernel)], -1);
            all_fit &= fits;
            chosen.push(agent);
        }
        (chosen, all_fit)
    }

    /// Takes what a session holds.
    pub(crate) fn take(&mut self, held: &[(usize, Demand)]) {
        change(&mut self.free, held, -1);
    }

    /// Gives back what a session held.
    pub(crate) fn give_back(&mut self, held: &[(usize, Demand)]) {
        change(&mut self.free, held, 1);
    }

    /// Believes what a rejection says about agents.
    pub(crate) fn learn(&mut self, violations: &[Violation]) {
        for violation in violations.iter().filter(|v| v.code == RejectionCode::AgentCapacity) {
            let Violation { scope_id: Some(id), slot: Some(slot), used, max, .. } = violation
            else {
                continue;
            };
            let (Some(agent), Some(slot)) = (self.find(id), SLOTS.iter().position(|s| s == slot))
            else {
                continue;
            };
            let units = |amount: &Option<crate::Amount>| {
                amount.as_ref().map_or(0, |amount| in_units(slot, amount.as_str()))
            };
            self.free[agent][slot] = units(max) - units(used);
        }
    }

    /// Believes the database about everything.
    pub(crate) fn refresh(&mut self, occupancies: &[AgentOccupancy]) {
        for occupancy in occupancies {
            let Some(agent) = self.find(&occupancy.agent_id) else { continue };
            self.free[agent] = std::array::from_fn(|slot| {
                let of =
                    |slots: &ResourceSlots| in_units(slot, slots.get(SLOTS[slot]).unwrap_or("0"));
                of(&occupancy.available_slots) - of(&occupancy.occupied_slots)
            });
        }
    }

    fn find(&self, id: &str) -> Option<usize> {
        self.ids.binary_search_by(|known| known.as_str().cmp(id)).ok()
    }
}

/// The fitting agent of which least is left over, or most, GPUs first, and true; without one, the
/// agent that lacks least, and false.
fn best(free: &[[i128; 3]], wanted: [i128; 3], fit: Fit) -> (usize, bool) {
    let left = |free: &[i128; 3]| std::array::from_fn::<_, 3, _>(|slot| free[slot] - wanted[slot]);
    let best = free.iter().map(left).enumerate().min_by_key(|(_, [cpu, mem, gpu])| {
        let lacking: i128 = [cpu, mem, gpu].into_iter().map(|left| -left.min(&0)).sum();
        let left = (*gpu, *cpu, *mem);
        (lacking, if fit == Fit::Tight { left } else { (-gpu, -cpu, -mem) })
    });
    best.map_or((0, false), |(agent, left)| (agent, left.iter().all(|left| *left >= 0)))
}

fn change(free: &mut [[i128; 3]], held: &[(usize, Demand)], sign: i128) {
    for (agent, demand) in held {
        for (free, units) in free[*agent].iter_mut().zip(demand.units()) {
            *free += sign * units;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(cpu_milli: u64, mem_mib: u64, gpu_milli: u64) -> Demand {
        Demand { cpu_milli, mem_mib, gpu_milli }
    }

    fn view() -> View {
        let big = ("big".to_owned(), demand(32_000, 65_536, 8_000));
        let small = ("small".to_owned(), demand(8_000, 16_384, 1_000));
        let none = ("none".to_owned(), demand(8_000, 16_384, 0));
        View::new([big, small, none])
    }

    #[test]
    fn a_demand_is_exact() {
        let slots = demand(11_900, 12_288, 460).slots();
        assert_eq!(slots.get("cpu"), Some("11.9"));
        assert_eq!(slots.get("mem"), Some("12884901888"));
        assert_eq!(slots.get("cuda.shares"), Some("0.46"));
        assert_eq!(demand(1000, 0, 0).slots().len(), 1);
    }

    #[test]
    fn kernels_go_where_least_is_left_over() {
        let choose = |kernels: &[Demand]| {
            let view = view();
            let (agents, fits) = view.choose(kernels, Fit::Tight);
            let ids: Vec<_> = agents.iter().map(|a| view.agent_id(*a).to_owned()).collect();
            (ids, fits)
        };
        assert_eq!(choose(&[demand(1000, 1024, 0)]), (vec!["none".to_owned()], true));
        let half = demand(1000, 1024, 500);
        let expected = ["small", "small", "big"].map(str::to_owned).to_vec();
        assert_eq!(choose(&[half; 3]), (expected, true));
        assert!(!choose(&[demand(1000, 1024, 9_000)]).1);
        let (agents, fits) = view().choose(&[half], Fit::Roomy);
        assert_eq!((view().agent_id(agents[0]), fits), ("big", true));
    }

    #[test]
    fn what_is_held_comes_back() {
        let mut view = view();
        let before = format!("{view:?}");
        let held = [(0, demand(1, 2, 3)), (0, demand(4, 5, 6))];
        view.take(&held);
        assert_ne!(format!("{view:?}"), before);
        view.give_back(&held);
        assert_eq!(format!("{view:?}"), before);
    }
}
