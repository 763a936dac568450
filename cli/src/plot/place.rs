//! Placing labels along a line so that they do not overlap and move as little as possible.

/// A run of labels that touch each other.
struct Cluster {
    /// Labels in it, as positions in the sorted order.
    members: Vec<usize>,
    start: f64,
    length: f64,
}

/// Centres for labels of the given lengths within `[low, high]`: those that do not collide stay at their wish, those
/// that do are stacked around the mean of their wishes. When all together are longer than the room, they start at
/// `low` and run over.
pub(super) fn spread(wishes: &[(f64, f64)], low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    let wish = |index: usize| wishes.get(index).copied().unwrap_or((low, 0.0));
    order.sort_by(|a, b| wish(*a).0.total_cmp(&wish(*b).0).then(a.cmp(b)));
    let mut clusters: Vec<Cluster> = Vec::new();
    for index in order {
        let (centre, length) = wish(index);
        let mut cluster = Cluster {
            members: vec![index],
            start: centre - length / 2.0,
            length,
        };
        cluster.clamp(low, high);
        while let Some(before) = clusters.pop_if(|before| before.start + before.length > cluster.start) {
            cluster = Cluster::joined(before, cluster, &wish);
            cluster.clamp(low, high);
        }
        clusters.push(cluster);
    }
    let mut centres = vec![low; wishes.len()];
    for cluster in clusters {
        let mut at = cluster.start;
        for index in cluster.members {
            let length = wish(index).1;
            if let Some(centre) = centres.get_mut(index) {
                *centre = at + length / 2.0;
            }
            at += length;
        }
    }
    centres
}

impl Cluster {
    fn clamp(&mut self, low: f64, high: f64) {
        self.start = self.start.min(high - self.length).max(low);
    }

    /// Both in a row, where the mean of the wishes wants them.
    fn joined(before: Self, after: Self, wish: &impl Fn(usize) -> (f64, f64)) -> Self {
        let members: Vec<usize> = before.members.into_iter().chain(after.members).collect();
        let (mut offset, mut starts) = (0.0, 0.0);
        for index in &members {
            let (centre, length) = wish(*index);
            starts += centre - length / 2.0 - offset;
            offset += length;
        }
        let start = starts / members.len().max(1) as f64;
        Self {
            members,
            start,
            length: offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn free_labels_stay_and_crowded_ones_share_the_shift() {
        assert_eq!(spread(&[(50.0, 10.0), (20.0, 10.0)], 0.0, 100.0), [50.0, 20.0]);
        assert_eq!(spread(&[(50.0, 10.0), (50.0, 10.0)], 0.0, 100.0), [45.0, 55.0]);
        assert_eq!(spread(&[(1.0, 10.0), (2.0, 10.0)], 0.0, 100.0), [5.0, 15.0]);
        assert_eq!(spread(&[(99.0, 10.0), (98.0, 10.0)], 0.0, 100.0), [95.0, 85.0]);
        assert!(spread(&[], 0.0, 1.0).is_empty());
    }

    proptest! {
        #[test]
        fn labels_never_overlap_and_keep_their_order(
            wishes in prop::collection::vec((-50.0..150.0_f64, 1.0..9.0_f64), 0..10),
        ) {
            let centres = spread(&wishes, 0.0, 100.0);
            let mut placed: Vec<_> = centres.iter().zip(&wishes).map(|(c, (w, l))| (*c, *w, *l)).collect();
            placed.sort_by(|a, b| a.0.total_cmp(&b.0));
            for pair in placed.windows(2) {
                prop_assert!(pair[1].0 - pair[1].2 / 2.0 >= pair[0].0 + pair[0].2 / 2.0 - 1e-9);
                prop_assert!(pair[1].1 >= pair[0].1);
            }
            for (centre, _, length) in placed {
                prop_assert!(centre - length / 2.0 >= -1e-9 && centre + length / 2.0 <= 100.0 + 1e-9);
            }
        }
    }
}
