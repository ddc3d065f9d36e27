//! Percent-encoding of URLs.

/// Decodes a part of a URL. `+` is a space.
pub(crate) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = text.get(at + 1..at + 3).filter(|_| *byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                out.push(code);
                at += 3;
            }
            None => {
                out.push(if *byte == b'+' { b' ' } else { *byte });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Encodes a value of a URL's query.
pub(crate) fn percent_encoded(value: &str) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (text, encoded) in
            [("", ""), ("a-b_c.d~e/f", "a-b_c.d~e/f"), ("p@ss w+d%", "p%40ss%20w%2Bd%25"), ("é", "%C3%A9")]
        {
            assert_eq!(percent_encoded(text), encoded);
            assert_eq!(percent_decoded(encoded), text);
        }
        assert_eq!(percent_decoded("a+b%2"), "a b%2", "a cut escape stays as it is");
    }
}
