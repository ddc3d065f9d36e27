//! The service that answers now. Another one takes its place when the tables or the rules change.

use std::sync::{Arc, Mutex, PoisonError};

use crate::service::Service;

/// The service that answers now, if one does.
#[derive(Clone, Debug, Default)]
pub struct CurrentService(Arc<Mutex<Option<Service>>>);

impl CurrentService {
    /// The service.
    #[must_use]
    pub fn get(&self) -> Option<Service> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another service in its place. Returns the one that it replaces.
    pub(super) fn replace(&self, service: Service) -> Option<Service> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(service)
    }
}
