//! JSON in the making: what is written goes to the end of one buffer.

use std::io::Write as _;

use serde::Serialize;

/// The text so far. Commas are put by themselves: before a key or an item that is not the first one.
#[derive(Debug, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
}

impl Text {
    /// An object with what `fill` writes into it.
    pub(super) fn object(&mut self, fill: impl FnOnce(&mut Self)) {
        self.bytes.push(b'{');
        fill(self);
        self.bytes.push(b'}');
    }

    /// An array of what `item` writes for each of these.
    pub(super) fn array<T>(&mut self, of: impl IntoIterator<Item = T>, mut item: impl FnMut(&mut Self, T)) {
        self.bytes.push(b'[');
        for one in of {
            self.comma();
            item(self, one);
        }
        self.bytes.push(b']');
    }

    /// A key that needs no escaping; its value comes next.
    pub(super) fn key(&mut self, key: &str) -> &mut Self {
        self.comma();
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(b"\":");
        self
    }

    /// JSON that is written already.
    pub(super) fn raw(&mut self, json: &str) {
        self.bytes.extend_from_slice(json.as_bytes());
    }

    /// A value in its own JSON form.
    pub(super) fn value(&mut self, value: &(impl Serialize + ?Sized)) {
        serde_json::to_writer(&mut self.bytes, value).expect("plain data has a JSON form, and memory takes it");
    }

    /// A text that needs no escaping.
    pub(super) fn plain(&mut self, text: std::fmt::Arguments<'_>) {
        write!(self.bytes, "\"{text}\"").expect("memory takes what is written");
    }

    /// The end of a line.
    pub(super) fn end_line(&mut self) {
        self.bytes.push(b'\n');
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        String::from_utf8(self.bytes).expect("only texts were written")
    }

    /// A comma, unless an object, an array or a key was just opened.
    fn comma(&mut self) {
        if !matches!(self.bytes.last(), Some(b'{' | b'[' | b':')) {
            self.bytes.push(b',');
        }
    }
}
