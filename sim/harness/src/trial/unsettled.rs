//! What a device still has open when a run was to be settled, in words.

use sim_device::status::Status;

/// `None` where it has nothing open.
pub(super) fn unsettled(device: u32, status: &Status) -> Option<String> {
    let mut parts = Vec::new();
    if !status.running {
        parts.push("not running".to_owned());
    }
    if !status.online {
        parts.push("offline".to_owned());
    }
    if status.queued > 0 {
        parts.push(format!("{} operations queued", status.queued));
    }
    if status.applied == 0 {
        parts.push("has not fetched the rows that were there before the plan".to_owned());
    }
    if !status.fence_applied {
        parts.push("has not applied the fence's checkpoint".to_owned());
    }
    if parts.is_empty() {
        return None;
    }
    if !status.last_error.is_empty() {
        parts.push(format!("its last trouble: {}", status.last_error));
    }
    Some(format!(
        "client/{device}: {}; nothing advanced since {:.1} s",
        parts.join(", "),
        status.last_progress_us as f64 / 1e6
    ))
}
