//! Forecasts of arrivals, as distributions, from the history alone.

mod ensemble;
mod expert;
mod histogram;
mod model;
mod rhythm;
mod season;
mod trend;

pub use ensemble::{Chance, Ensemble, mean, quantile};
pub(crate) use model::WINDOW;
pub use model::{Model, refit, seasons_of};
