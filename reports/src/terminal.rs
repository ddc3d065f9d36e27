//! Colour and tables for terminals.

/// Whether to write colour codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// None at all.
    #[default]
    Plain,
    /// ANSI codes for verdicts.
    Ansi,
}

/// The text in a colour, given by its ANSI code.
pub(crate) fn paint(text: &str, code: u8, colour: Colour) -> String {
    match colour {
        Colour::Plain => text.to_owned(),
        Colour::Ansi => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
    }
}

/// On which side of a column its cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    align: Align,
}

impl Column {
    pub(crate) fn new(title: &'static str, align: Align) -> Self {
        Self { title, align }
    }
}

/// A table with aligned columns; empty without rows.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell));
            cells.fold(width(column.title), usize::max)
        })
        .collect();
    let mut text = String::new();
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for ((cell, column), wanted) in row.iter().zip(columns).zip(&widths) {
            let space = " ".repeat(wanted.saturating_sub(width(cell)));
            if !line.is_empty() {
                line.push_str("  ");
            }
            match column.align {
                Align::Left => line.push_str(&format!("{cell}{space}")),
                Align::Right => line.push_str(&format!("{space}{cell}")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How many characters of a cell are visible: all but colour codes.
fn width(cell: &str) -> usize {
    let mut shown = 0;
    let mut in_code = false;
    for c in cell.chars() {
        match c {
            '\u{1b}' => in_code = true,
            'm' if in_code => in_code = false,
            _ if in_code => {}
            _ => shown += 1,
        }
    }
    shown
}
