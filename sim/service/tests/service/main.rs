//! Tests over the service's HTTP surface, in reading order: [`rig`] a source with its service, [`client`] a client
//! restated, [`rules`] sync configurations, [`conformance`] recorded exchanges, [`http`] the surface, [`streams`] what streams promise,
//! [`histories`] the same under random histories.

mod client;
mod conformance;
mod histories;
mod http;
mod rig;
mod rules;
mod streams;
