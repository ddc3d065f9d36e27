//! Reads a document as XML.

/// Reads the whole document; returns the names of its elements in order.
pub(crate) fn elements(xml: &str) -> Vec<String> {
    let mut reader = quick_xml::Reader::from_str(xml);
    reader.config_mut().check_end_names = true;
    let mut names = Vec::new();
    let mut depth = 0;
    loop {
        let event = reader.read_event().unwrap_or_else(|error| panic!("the document is well-formed, but {error}"));
        let element = match &event {
            quick_xml::events::Event::Start(element) => {
                depth += 1;
                Some(element)
            }
            quick_xml::events::Event::Empty(element) => Some(element),
            quick_xml::events::Event::End(_) => {
                depth -= 1;
                None
            }
            quick_xml::events::Event::Text(text) => {
                let text = text.decode().expect("the document is UTF-8");
                assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "no control character: {text:?}");
                None
            }
            quick_xml::events::Event::Eof => break,
            _ => None,
        };
        if let Some(element) = element {
            for attribute in element.attributes() {
                attribute.unwrap_or_else(|error| panic!("attributes are well-formed, but {error}"));
            }
            names.push(String::from_utf8_lossy(element.name().as_ref()).into_owned());
        }
    }
    assert_eq!(depth, 0, "every element is closed");
    names
}
