//! How reports write numbers, moments, durations and lists.

use sim_core::plan::EPOCH_US;

const DAY_US: i64 = 86_400_000_000;

/// A moment of plan time: `12.043 s`, `2 min 03.5 s`, `1 h 02 min 03 s`.
pub(crate) fn moment(at_us: i64) -> String {
    let sign = if at_us < 0 { "-" } else { "" };
    let micros = at_us.unsigned_abs();
    let ms = micros / 1000;
    let (minutes, rest_ms) = (ms / 60_000, ms % 60_000);
    if minutes == 0 {
        format!("{sign}{}.{:03} s", ms / 1000, ms % 1000)
    } else if minutes < 60 {
        format!("{sign}{minutes} min {:02}.{} s", rest_ms / 1000, rest_ms % 1000 / 100)
    } else {
        format!("{sign}{} h {:02} min {:02} s", minutes / 60, minutes % 60, rest_ms / 1000)
    }
}

/// A length of time: `300 ms`, `20 s`, `1.5 s`, `2 min`, `1 h 5 min`.
pub(crate) fn duration(micros: u64) -> String {
    let ms = micros.div_ceil(1000);
    if ms < 1000 {
        return format!("{ms} ms");
    }
    if ms < 60_000 {
        return match ms % 1000 / 100 {
            0 => format!("{} s", ms / 1000),
            tenths => format!("{}.{tenths} s", ms / 1000),
        };
    }
    let seconds = ms / 1000;
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let shown = parts.iter().skip_while(|(count, _)| *count == 0).take(2).filter(|(count, _)| *count > 0);
    shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

/// A length of time in seconds, for sums over a run.
pub(crate) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds <= 0.0 {
        return "0 s".to_owned();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and saturating is right")]
    let micros = (seconds * 1e6) as u64;
    duration(micros)
}

/// A number of milliseconds: `340 ms`, `1.2 s`, `3 min`.
pub(crate) fn milliseconds(ms: u64) -> String {
    duration(ms.saturating_mul(1000))
}

/// `61,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 plan`, `2,431 plans`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `a, b and c`.
pub(crate) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// An instant as a device's clock shows it, with the date only if it is not the day of the plan.
pub(crate) fn clock(micros: i64) -> String {
    if micros == i64::MIN || micros == i64::MAX {
        return if micros > 0 { "infinity" } else { "-infinity" }.to_owned();
    }
    let iso = fixtures::value::time_to_iso(micros);
    let trimmed = iso.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    match trimmed.split_once('T') {
        Some((_, time)) if micros.div_euclid(DAY_US) == EPOCH_US.div_euclid(DAY_US) => time.to_owned(),
        Some((date, time)) => format!("{date} {time}"),
        None => iso,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_durations_read_well() {
        let check = |micros: u64, at: &str, long: &str| {
            assert_eq!(moment(i64::try_from(micros).expect("test input fits")), at);
            assert_eq!(duration(micros), long);
        };
        check(0, "0.000 s", "0 ms");
        check(40_000, "0.040 s", "40 ms");
        check(1_500_000, "1.500 s", "1.5 s");
        check(12_043_000, "12.043 s", "12 s");
        check(123_500_000, "2 min 03.5 s", "2 min 3 s");
        check(3_600_000_000, "1 h 00 min 00 s", "1 h");
        check(3_900_000_000, "1 h 05 min 00 s", "1 h 5 min");
        check(90_000_000_000, "25 h 00 min 00 s", "1 d 1 h");
    }

    #[test]
    fn moments_before_the_plan_are_negative() {
        assert_eq!(moment(-1_500_000), "-1.500 s");
    }

    #[test]
    fn counts_have_thousands() {
        let check = |number, expect: &str| assert_eq!(count(number), expect);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(61_000, "61,000");
        check(1_234_567, "1,234,567");
    }

    #[test]
    fn instants_name_the_day_only_when_it_is_another() {
        assert_eq!(clock(EPOCH_US + 1_500_000), "08:00:01.5");
        assert_eq!(clock(EPOCH_US + DAY_US), "2026-01-06 08:00:00");
    }
}
