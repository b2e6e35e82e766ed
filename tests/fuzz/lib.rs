//! The properties, for the targets.

mod properties;

/// Holds an input against the property called `name`.
///
/// # Panics
/// If it does not hold: that is a find.
pub fn check(name: &str, input: &[u8]) {
    let (_, holds) =
        properties::ALL.iter().find(|(known, _)| *known == name).expect("a property of each target");
    holds(input);
}
