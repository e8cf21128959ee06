//! Which of the free devices a container is advised to get: close together, or far apart.
//!
//! ```text
//!   NUMA node ─┬─ controller ─┬─ device ─┬─ replica      packed: as few as possible at each level, from the left
//!              └─ …           └─ …       └─ …            spread: as many
//! ```
//!
//! The answer is legal whatever is asked: devices that are available, each once, with all that must be in it, and as many
//! as asked for where there are so many. The same question has the same answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::rules::Prefer;
use crate::unit::Unit;

/// One free unit, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its id.
    pub id: Arc<str>,
    /// Levels from the outermost: NUMA nodes, controller, device. Empty text is not known.
    pub place: [String; 3],
}

impl Choice {
    /// A unit's.
    pub fn of(unit: &Unit) -> Self {
        let text = |numa: &[u32]| numa.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let part = unit.body.parts.first();
        let controller = part.map(|part| part.controller.clone()).unwrap_or_default();
        let device = part.map(|part| part.hold.device()).unwrap_or_default();
        Self { id: Arc::clone(&unit.id), place: [text(&unit.body.numa), controller, device] }
    }
}

/// Chooses `size` of the available ones, with all of `must` that are available.
pub fn prefer(how: Prefer, available: &[Choice], must: &[&str], size: usize) -> Vec<Arc<str>> {
    let mut free: BTreeMap<&str, &Choice> = available.iter().map(|choice| (&*choice.id, choice)).collect();
    let mut chosen: Vec<&Choice> = must.iter().filter_map(|id| free.remove(id)).collect();
    let need = size.min(chosen.len() + free.len()).saturating_sub(chosen.len());
    let free: Vec<&Choice> = free.into_values().collect();
    match how {
        Prefer::None => chosen.extend(free.into_iter().take(need)),
        Prefer::Packed => {
            let more = pack(free, &chosen, need, 0);
            chosen.extend(more);
        }
        Prefer::Spread => spread(free, &mut chosen, need),
    }
    chosen.into_iter().map(|choice| Arc::clone(&choice.id)).collect()
}

/// As few groups of a level as possible: those that are in it anyway, then the smallest that is enough, else the largest.
fn pack<'c>(free: Vec<&'c Choice>, chosen: &[&'c Choice], need: usize, level: usize) -> Vec<&'c Choice> {
    if need == 0 || level == 3 {
        return free.into_iter().take(need).collect();
    }
    let mut groups: BTreeMap<&str, Vec<&Choice>> = BTreeMap::new();
    for choice in free {
        groups.entry(&choice.place[level]).or_default().push(choice);
    }
    let begun: BTreeSet<&str> = chosen.iter().map(|choice| choice.place[level].as_str()).collect();
    let mut taken = Vec::new();
    while taken.len() < need {
        let missing = need - taken.len();
        let best = groups.iter().min_by_key(|(place, group)| {
            let is_enough = group.len() >= missing;
            let fit = if is_enough { group.len() } else { usize::MAX - group.len() };
            (!begun.contains(*place), !is_enough, fit)
        });
        let Some(place) = best.map(|(place, _)| *place) else { break };
        let group = groups.remove(place).unwrap_or_default();
        let count = missing.min(group.len());
        let inside: Vec<&Choice> = chosen.iter().filter(|choice| choice.place[level] == place).copied().collect();
        taken.extend(pack(group, &inside, count, level + 1));
    }
    taken
}

/// One after another where the fewest have been taken, the outermost level first.
fn spread<'c>(mut free: Vec<&'c Choice>, chosen: &mut Vec<&'c Choice>, need: usize) {
    let mut used: BTreeMap<&[String], usize> = BTreeMap::new();
    for choice in chosen.iter() {
        count(&mut used, choice);
    }
    for _ in 0..need {
        let load = |choice: &Choice| [1, 2, 3].map(|levels| used.get(&choice.place[..levels]).copied().unwrap_or(0));
        let Some(best) = (0..free.len()).min_by_key(|number| (load(free[*number]), &free[*number].id)) else { return };
        let choice = free.remove(best);
        count(&mut used, choice);
        chosen.push(choice);
    }
}

fn count<'c>(used: &mut BTreeMap<&'c [String], usize>, choice: &'c Choice) {
    for levels in 1..=3 {
        *used.entry(&choice.place[..levels]).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;

    /// `name@numa/controller/device`.
    fn choices(text: &str) -> Vec<Choice> {
        let choice = |word: &str| {
            let (id, place) = word.split_once('@').unwrap();
            let mut place = place.split('/').map(str::to_owned);
            Choice { id: id.into(), place: std::array::from_fn(|_| place.next().unwrap_or_default()) }
        };
        text.split(' ').map(choice).collect()
    }

    fn chosen(how: Prefer, available: &str, must: &[&str], size: usize) -> String {
        prefer(how, &choices(available), must, size).join(" ")
    }

    #[test]
    fn packed_takes_what_is_close_and_leaves_large_groups_whole() {
        let two_nodes = "a@0/x/a b@0/x/b c@0/y/c d@1/z/d e@1/z/e";
        assert_eq!(chosen(Prefer::Packed, two_nodes, &[], 2), "d e", "the smaller node is enough");
        assert_eq!(chosen(Prefer::Packed, two_nodes, &[], 3), "a b c");
        assert_eq!(chosen(Prefer::Packed, two_nodes, &["c"], 2), "c a", "the node of what must be in it");
        assert_eq!(chosen(Prefer::Packed, "a-0@0/x/a a-1@0/x/a b-0@0/x/b", &["a-0"], 2), "a-0 a-1");
    }

    #[test]
    fn spread_takes_distinct_nodes_controllers_and_devices() {
        let two_nodes = "a@0/x/a b@0/x/b c@0/y/c d@1/z/d e@1/z/e";
        assert_eq!(chosen(Prefer::Spread, two_nodes, &[], 2), "a d");
        assert_eq!(chosen(Prefer::Spread, two_nodes, &["a"], 3), "a d c");
        assert_eq!(chosen(Prefer::Spread, "a-0@0/x/a a-1@0/x/a b-0@0/x/b", &[], 2), "a-0 b-0");
    }

    fn some_choices() -> impl Strategy<Value = Vec<Choice>> {
        proptest::collection::vec((0..3_u8, 0..3_u8, 0..4_u8), 0..9).prop_map(|places| {
            let choice = |(number, (numa, controller, device)): (usize, (u8, u8, u8))| Choice {
                id: number.to_string().into(),
                place: [numa.to_string(), format!("{numa}{controller}"), format!("{numa}{controller}{device}")],
            };
            places.into_iter().enumerate().map(choice).collect()
        })
    }

    /// Available ones, some of which must be in it, and how many are asked for.
    fn question() -> impl Strategy<Value = (Vec<Choice>, Vec<Arc<str>>, usize)> {
        some_choices().prop_flat_map(|available| {
            let ids: Vec<Arc<str>> = available.iter().map(|choice| Arc::clone(&choice.id)).collect();
            let all = available.len();
            (Just(available), subsequence(ids, 0..=all), 0..=all + 2)
        })
    }

    fn nodes(available: &[Choice], ids: &[Arc<str>]) -> usize {
        let node = |id: &Arc<str>| available.iter().find(|choice| choice.id == *id).map(|choice| &choice.place[0]);
        ids.iter().map(node).collect::<BTreeSet<_>>().len()
    }

    proptest! {
        // Tried against a choice that forgets to take `must` out of the free ones: found at once.
        #[test]
        fn every_answer_is_legal((available, must, size) in question(), how in 0..3_usize) {
            let how = [Prefer::None, Prefer::Packed, Prefer::Spread][how];
            let must: Vec<&str> = must.iter().map(|id| &**id).collect();
            let size = size.max(must.len());
            let answer = prefer(how, &available, &must, size);
            let distinct: BTreeSet<&str> = answer.iter().map(|id| &**id).collect();
            prop_assert_eq!(distinct.len(), answer.len());
            prop_assert!(answer.iter().all(|id| available.iter().any(|choice| choice.id == *id)));
            prop_assert!(must.iter().all(|id| distinct.contains(id)));
            prop_assert_eq!(answer.len(), size.min(available.len()));
            let backwards: Vec<Choice> = available.iter().rev().cloned().collect();
            prop_assert_eq!(prefer(how, &backwards, &must, size), answer);
        }

        // Tried against a packing that takes the smallest group first: found at once.
        #[test]
        fn packed_has_the_fewest_nodes_and_spread_the_most((available, _, size) in question()) {
            let size = size.min(available.len());
            let ids: Vec<Arc<str>> = available.iter().map(|choice| Arc::clone(&choice.id)).collect();
            let subsets = (0..1_usize << ids.len()).filter(|bits| bits.count_ones() as usize == size);
            let of_bits = |bits: usize| ids.iter().enumerate().filter(move |(place, _)| bits >> place & 1 == 1);
            let counts: Vec<usize> =
                subsets.map(|bits| nodes(&available, &of_bits(bits).map(|(_, id)| Arc::clone(id)).collect::<Vec<_>>())).collect();
            let packed = prefer(Prefer::Packed, &available, &[], size);
            let spread = prefer(Prefer::Spread, &available, &[], size);
            prop_assert_eq!(Some(nodes(&available, &packed)), counts.iter().copied().min());
            prop_assert_eq!(Some(nodes(&available, &spread)), counts.iter().copied().max());
        }
    }
}
