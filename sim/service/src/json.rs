//! Values as JSON text, as PowerSync writes it: row data, bucket parameters, timestamps, reals.
//!
//! It is written by hand into a caller's buffer, because this is the hottest code of the service.

use std::fmt::Write as _;

use fixtures::{Type, Value};

/// How an instant is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// `2026-01-02 01:04:05.6Z`: a space, and the fraction as PostgreSQL prints it (none when zero). Sync rules.
    Legacy,
    /// `2026-01-02T01:04:05.600000Z`: always six digits. From edition 2 on.
    Iso8601,
}

/// Appends the JSON form of a column value in row data.
pub fn write_value(out: &mut String, value: &Value, ty: Type, format: TimeFormat) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Int(int) => write_int(out, *int),
        Value::Real(real) => write_real(out, *real, ty == Type::Real),
        Value::Text(text) => write_string(out, text),
        Value::Time(micros) => {
            let start = out.len();
            out.push('"');
            if write_time(out, *micros, format) {
                out.push('"');
            } else {
                out.truncate(start);
                out.push_str("null");
            }
        }
    }
}

/// Appends the JSON form of a value in a bucket name: as in row data, but an integral real has no `.0`, so that
/// 1 and 1.0 name one bucket.
pub fn write_parameter(out: &mut String, value: &Value) {
    match value {
        Value::Real(real) => {
            write_real(out, *real, false);
            if out.ends_with(".0") {
                out.truncate(out.len() - 2);
            }
        }
        other => write_value(out, other, Type::Text, TimeFormat::Legacy),
    }
}

/// Appends a JSON string, escaped as `JSON.stringify` and `serde_json` do.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    write_escaped(out, text);
    out.push('"');
}

/// The bytes that a JSON string must escape.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Appends the inside of a JSON string.
pub fn write_escaped(out: &mut String, text: &str) {
    out.reserve(text.len());
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| ESCAPED[usize::from(byte)]) {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            control => {
                let _ = write!(out, "\\u{control:04x}");
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// Appends a decimal integer.
pub fn write_int(out: &mut String, int: i64) {
    if int < 0 {
        out.push('-');
    }
    write_u64(out, int.unsigned_abs());
}

/// Appends a decimal integer.
pub fn write_u64(out: &mut String, mut int: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (int % 10) as u8;
        int /= 10;
        if int == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&digits[at..]).expect("digits are ASCII"));
}

/// Appends a real as the official service prints it: the shortest decimal that reads back, in JavaScript's notation,
/// with `.0` when integral. A real that JSON cannot hold becomes null. The official service prints it as it is, which
/// breaks the client's parser.
fn write_real(out: &mut String, real: f64, four_bytes: bool) {
    if !real.is_finite() {
        out.push_str("null");
        return;
    }
    let start = out.len();
    let scientific = if four_bytes {
        #[expect(clippy::cast_possible_truncation, reason = "the column has four bytes: the value is exact")]
        let single = real as f32;
        format!("{single:e}")
    } else {
        format!("{real:e}")
    };
    let (mantissa, exponent) = scientific.split_once('e').expect("Rust prints an exponent for {:e}");
    let exponent: i32 = exponent.parse().expect("Rust prints a decimal exponent");
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    out.push_str(sign);
    let digits = i32::try_from(1 + fraction.len()).expect("a real has at most 17 digits");
    if !(-6..21).contains(&exponent) {
        out.push_str(whole);
        if !fraction.is_empty() {
            out.push('.');
            out.push_str(fraction);
        }
        let _ = write!(out, "e{exponent:+}");
    } else if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', usize::try_from(-exponent - 1).expect("the exponent is negative")));
        out.push_str(whole);
        out.push_str(fraction);
    } else if digits > exponent + 1 {
        let split = usize::try_from(exponent).expect("the exponent is not negative");
        out.push_str(whole);
        out.push_str(&fraction[..split]);
        out.push('.');
        out.push_str(&fraction[split..]);
    } else {
        out.push_str(whole);
        out.push_str(fraction);
        out.extend(std::iter::repeat_n('0', usize::try_from(exponent + 1 - digits).expect("zeros are missing")));
        out.push_str(".0");
    }
    debug_assert!(out.len() > start, "a real has digits");
}

/// Appends an instant without quotes. Returns false, for the caller to truncate, when it is outside years 0 to 9999.
fn write_time(out: &mut String, micros: i64, format: TimeFormat) -> bool {
    let separator = match format {
        TimeFormat::Legacy => ' ',
        TimeFormat::Iso8601 => 'T',
    };
    let (date, time) = match micros {
        i64::MAX => ("9999-12-31", "23:59:59"),
        i64::MIN => ("0000-01-01", "00:00:00"),
        _ => ("", ""),
    };
    let mut fraction = 0;
    if date.is_empty() {
        let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
        // 0000-01-01 and 9999-12-31.
        if !(-719_528..=2_932_896).contains(&days) {
            return false;
        }
        let (year, month, day) = civil_from_days(days);
        let seconds = rest / 1_000_000;
        fraction = rest % 1_000_000;
        write_padded(out, year, 4);
        out.push('-');
        write_padded(out, month, 2);
        out.push('-');
        write_padded(out, day, 2);
        out.push(separator);
        write_padded(out, seconds / 3600, 2);
        out.push(':');
        write_padded(out, seconds / 60 % 60, 2);
        out.push(':');
        write_padded(out, seconds % 60, 2);
    } else {
        out.push_str(date);
        out.push(separator);
        out.push_str(time);
    }
    if format == TimeFormat::Iso8601 || fraction != 0 {
        out.push('.');
        write_padded(out, fraction, 6);
        if format == TimeFormat::Legacy {
            out.truncate(out.trim_end_matches('0').len());
        }
    }
    out.push('Z');
    true
}

fn write_padded(out: &mut String, value: i64, width: u32) {
    let mut unit = 10i64.pow(width - 1);
    let mut rest = value;
    while unit > 0 {
        out.push(char::from(b'0' + u8::try_from(rest / unit).expect("the value fits its width")));
        rest %= unit;
        unit /= 10;
    }
}

/// Howard Hinnant's `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

/// The JSON form of a value in row data, for code that is not hot.
#[must_use]
pub fn value_text(value: &Value, format: TimeFormat) -> String {
    let mut out = String::new();
    write_value(&mut out, value, Type::Text, format);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Value, ty: Type, format: TimeFormat, expect: &str) {
        let mut out = String::new();
        write_value(&mut out, &value, ty, format);
        assert_eq!(out, expect, "{value:?} as {ty:?}");
        serde_json::from_str::<serde_json::Value>(&out).expect("row data is JSON");
    }

    #[test]
    fn values_as_the_official_service_prints_them() {
        use TimeFormat::{Iso8601, Legacy};
        let time = |text: &str| Value::Time(fixtures::value::time_from_text(text).expect("the test's own instant"));
        check(Value::Null, Type::Text, Legacy, "null");
        check(Value::Int(9_007_199_254_740_993), Type::BigInt, Legacy, "9007199254740993");
        check(Value::Int(i64::MIN), Type::BigInt, Legacy, "-9223372036854775808");
        check(Value::Int(1), Type::Boolean, Legacy, "1");
        for (real, expect) in [
            (1.5, "1.5"),
            (2.0, "2.0"),
            (1e300, "1e+300"),
            (0.1, "0.1"),
            (-0.25, "-0.25"),
            (1e-7, "1e-7"),
            (0.000_001, "0.000001"),
            (123_456.789, "123456.789"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000.0"),
            (1.5e-300, "1.5e-300"),
            (0.0, "0.0"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
        ] {
            check(Value::Real(real), Type::Double, Legacy, expect);
        }
        check(Value::Real(f64::from(0.1f32)), Type::Real, Legacy, "0.1");
        check(Value::text("a\"b\\c\n\u{1}é"), Type::Text, Legacy, "\"a\\\"b\\\\c\\n\\u0001é\"");
        check(time("2026-01-02T01:04:05.678901Z"), Type::Timestamptz, Legacy, "\"2026-01-02 01:04:05.678901Z\"");
        check(time("2026-01-02T01:04:05.600Z"), Type::Timestamptz, Legacy, "\"2026-01-02 01:04:05.6Z\"");
        check(time("2026-01-02T01:04:00Z"), Type::Timestamptz, Legacy, "\"2026-01-02 01:04:00Z\"");
        check(time("2026-01-02T01:04:05.6Z"), Type::Timestamptz, Iso8601, "\"2026-01-02T01:04:05.600000Z\"");
        check(time("infinity"), Type::Timestamptz, Legacy, "\"9999-12-31 23:59:59Z\"");
        check(time("-infinity"), Type::Timestamptz, Legacy, "\"0000-01-01 00:00:00Z\"");
        check(Value::Time(i64::MAX - 1), Type::Timestamptz, Legacy, "null");
    }

    #[test]
    fn one_and_one_point_zero_name_one_bucket() {
        let name = |value: Value| {
            let mut out = String::new();
            write_parameter(&mut out, &value);
            out
        };
        assert_eq!(name(Value::Real(1.0)), "1");
        assert_eq!(name(Value::Int(1)), "1");
        assert_eq!(name(Value::Real(1.5)), "1.5");
        assert_eq!(name(Value::text("u1")), "\"u1\"");
    }
}
