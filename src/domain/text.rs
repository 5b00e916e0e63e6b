//! Characters that a text of one line must not have, or that do not show.

/// Whether `c` turns the direction of the text around it (Unicode UAX 9): in a line of
/// somebody else's page it would turn what stands beside it.
pub fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether nothing is seen of `c`: white space, or of no width.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}')
}
