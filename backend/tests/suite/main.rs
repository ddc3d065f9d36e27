//! The backend's public interface: policies as decision tables, transactions as scripts, the service as requests.

mod app;
mod baseline;
mod http;
mod policies;
mod replay;
mod script;
mod store;
mod transactions;
