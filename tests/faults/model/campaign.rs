//! The campaign: sequences by chance, as many as there is time for.

use tokio::runtime::Runtime;

use super::house::House;
use super::step::{Step, sequences};
use crate::support::campaign;

/// Lets a sequence happen, and then all be well.
pub(crate) fn play(runtime: &Runtime, steps: &[Step]) {
    runtime.block_on(async {
        let mut house = House::new().await;
        for step in steps {
            house.apply(*step).await;
        }
        house.finish().await;
    });
}

#[test]
fn whatever_happens_in_whatever_order_the_model_is_right() {
    campaign::run((1_000, 10_000), 4, sequences, |runtime, steps| play(runtime, steps));
}
