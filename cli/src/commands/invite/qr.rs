//! A code as a QR code for a terminal: two modules a character, one above the other.
//!
//! Codes mean the same in upper case, which QR codes write in their alphanumeric mode: 5.5 bits a
//! character in place of 8.

use qrcode::{Color, EcLevel, QrCode};

use crate::failure::usage;

/// Modules of empty space around it, as the standard asks for.
const QUIET: usize = 4;
/// Black on white, whatever the terminal's colours are.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const PLAIN: &str = "\x1b[0m";

/// Draws a code. With colours it is black on white; without, its light modules are drawn, since
/// terminals without colours that are dark are more than those that are light.
pub(super) fn draw(code: &str, color: bool) -> anyhow::Result<String> {
    let upper = code.to_ascii_uppercase();
    // A screen has no scratches: the lowest level of correction makes the smallest picture.
    let qr = QrCode::with_error_correction_level(&upper, EcLevel::L).map_err(|_| {
        usage("the code is too long for a QR code").hint("make one with fewer addresses")
    })?;
    let (width, modules) = (qr.width(), qr.into_colors());
    let is_dark = |row: usize, column: usize| {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < width);
        match (inside(row), inside(column)) {
            (Some(row), Some(column)) => modules[row * width + column] == Color::Dark,
            _ => false,
        }
    };
    let side = width + 2 * QUIET;
    let mut lines = Vec::new();
    for row in (0..side).step_by(2) {
        let line = (0..side).map(|column| {
            let (upper, lower) = (is_dark(row, column) == color, is_dark(row + 1, column) == color);
            match (upper, lower) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            }
        });
        let line: String = line.collect();
        lines.push(if color { format!("{BLACK_ON_WHITE}{line}{PLAIN}") } else { line });
    }
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the picture back into modules, dark ones true.
    fn read(picture: &str, color: bool) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in picture.lines() {
            let line = line.strip_prefix(BLACK_ON_WHITE).unwrap_or(line);
            let line = line.strip_suffix(PLAIN).unwrap_or(line);
            let drawn = |upper: char| line.chars().map(move |c| (c == '█' || c == upper) == color);
            rows.push(drawn('▀').collect());
            rows.push(drawn('▄').collect());
        }
        rows
    }

    #[test]
    fn the_picture_is_the_matrix_in_a_quiet_zone() {
        let code = format!("hive1{}", "abcdefgh234567".repeat(40));
        for color in [false, true] {
            let rows = read(&draw(&code, color).unwrap(), color);
            let bytes = code.to_ascii_uppercase();
            let qr = QrCode::with_error_correction_level(&bytes, EcLevel::L).unwrap();
            let (width, modules) = (qr.width(), qr.to_colors());
            assert_eq!(rows[0].len(), width + 2 * QUIET);
            for (y, row) in rows.iter().enumerate() {
                for (x, dark) in row.iter().enumerate() {
                    let inside =
                        (QUIET..QUIET + width).contains(&x) && (QUIET..QUIET + width).contains(&y);
                    let expected =
                        inside && modules[(y - QUIET) * width + x - QUIET] == Color::Dark;
                    assert_eq!(*dark, expected, "{x}, {y}");
                }
            }
        }
    }

    #[test]
    fn upper_case_makes_it_smaller() {
        let code = format!("hive1{}", "abcdefgh234567".repeat(40));
        let upper =
            QrCode::with_error_correction_level(code.to_ascii_uppercase(), EcLevel::L).unwrap();
        let lower = QrCode::with_error_correction_level(&code, EcLevel::L).unwrap();
        assert!(upper.width() < lower.width());
    }

    #[test]
    fn what_is_too_long_says_so() {
        let error = draw(&"a".repeat(8000), false).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }
}
