//! Tests over the service's HTTP surface, in reading order: [`rig`] a source with its service, [`client`] a client
//! restated, [`conformance`] recorded exchanges, [`streams`] what streams promise.

mod client;
mod conformance;
mod rig;
mod streams;
