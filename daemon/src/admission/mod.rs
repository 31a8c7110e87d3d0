pub const PRIORITIES: usize = 10;
pub mod calibrate;
pub mod estimate;
pub mod ladder;
pub mod overload;
pub mod queue;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod testing;
