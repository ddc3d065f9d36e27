//! Texts from outside, made safe to show: on one line, without control characters, not too long.

/// A text in quotes, on one line, cut after so many characters.
pub(crate) fn quoted(text: &str, most: usize) -> String {
    format!("\"{}\"", shortened(&visible(text), most))
}

/// The text, cut after so many characters.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// The text without anything that moves a cursor, breaks a line, turns the direction of writing or may not stand
/// in XML: control characters become their pictures, the others a replacement character.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
            '\u{7f}' => '\u{2421}',
            '\u{80}'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{fffe}'
            | '\u{ffff}' => '\u{fffd}',
            other => other,
        })
        .collect()
}

/// A sentence of a checker for people: devices are called as everywhere else in a report.
pub(crate) fn plain(text: &str) -> String {
    let text = visible(text);
    let mut words = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("lient/") {
        let (before, after) = (&rest[..at], &rest[at + "lient/".len()..]);
        let device = match before.chars().last() {
            Some('c') if after.starts_with(|c: char| c.is_ascii_digit()) => "device ",
            Some('C') if after.starts_with(|c: char| c.is_ascii_digit()) => "Device ",
            _ => {
                words.push_str(&rest[..at + "lient/".len()]);
                rest = after;
                continue;
            }
        };
        words.push_str(&before[..before.len() - 1]);
        words.push_str(device);
        rest = after;
    }
    words.push_str(rest);
    words
}

/// The name as it may stand in a file name or a link: letters, digits and dashes.
pub(crate) fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = name.chars().map(plain).take(80).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_texts_stay_on_one_line() {
        let check = |text: &str, expect: &str| assert_eq!(visible(text), expect);
        check("plain <b> \"x\" 🌀", "plain <b> \"x\" 🌀");
        check("a\nb\u{1b}[31m", "a␊b␛[31m");
        check("a\u{202e}b\u{0}", "a\u{fffd}b␀");
    }

    #[test]
    fn clients_are_devices_to_people() {
        let check = |text: &str, expect: &str| assert_eq!(plain(text), expect);
        check("client/0 op 1, Client/12.", "device 0 op 1, Device 12.");
        check("client/x, lient/3, client/", "client/x, lient/3, client/");
    }
}
