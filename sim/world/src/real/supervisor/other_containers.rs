//! Faults of containers other than the two servers and the database.

use sim_core::plan::{ContainerFault, StackPart};

use super::state::StateGuard;

impl StateGuard {
    pub(crate) async fn inject_container_fault(self, part: StackPart, fault: ContainerFault) -> Result<(), String> {
        self.environment.inject_container_fault(part, fault).await
    }

    pub(crate) async fn heal_container_fault(self, part: StackPart, fault: ContainerFault) -> Result<(), String> {
        self.environment.heal_container_fault(part, fault).await
    }

    pub(crate) async fn flush_cache(self) -> Result<(), String> {
        self.environment.flush_cache().await
    }
}
