//! Draws by weight.

use rand::Rng as _;

use crate::seed::Rng;

/// An index, by weight; the weights add up to more than 0.
pub(super) fn weighted(rng: &mut Rng, weights: impl Iterator<Item = f64> + Clone) -> usize {
    let mut left = rng.random_range(0.0..1.0) * weights.clone().sum::<f64>();
    let mut last = 0;
    for (index, weight) in weights.enumerate() {
        last = index;
        if left < weight {
            break;
        }
        left -= weight;
    }
    last
}
