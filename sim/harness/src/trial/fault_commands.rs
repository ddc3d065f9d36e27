//! The faults that strike a device from within, as commands to it.

use std::time::Duration;

use sim_core::plan::Fault;
use sim_device::command::Command;

/// The command by which a fault strikes a device.
pub(super) fn command_for(key: u32, fault: &Fault) -> Option<Command> {
    match fault {
        Fault::Offline { .. } => Some(Command::Offline(true)),
        Fault::Crash { after_steps, down_us, .. } => {
            Some(Command::Crash { after_steps: *after_steps, down: Duration::from_micros(*down_us) })
        }
        Fault::CopyRestored { down_us, .. } => {
            Some(Command::RestoreCopy { key, down: Duration::from_micros(*down_us) })
        }
        Fault::StorageLost { down_us, .. } => Some(Command::LoseStorage { down: Duration::from_micros(*down_us) }),
        Fault::Suspend { .. } => Some(Command::Suspend),
        Fault::TabClose { handover_us, .. } => {
            Some(Command::TabClose { handover: Duration::from_micros(*handover_us) })
        }
        Fault::ClockJump { by_us, .. } => Some(Command::ClockJump { by_us: *by_us }),
        _ => None,
    }
}
