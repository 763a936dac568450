//! Tokens of pages: the key below which a page begins, sealed so that one made up by a caller is recognised.

/// The token of the page of runs with keys below this one.
pub(super) fn token(before: u64) -> String {
    format!("{before:016x}{:016x}", seal(before))
}

/// The key of a token that [`token`] made.
pub(super) fn read(text: &str) -> Option<u64> {
    let (key, _) = text.split_at_checked(16)?;
    let before = u64::from_str_radix(key, 16).ok()?;
    (token(before) == text).then_some(before)
}

/// FNV-1a over the key, after a word of our own.
fn seal(before: u64) -> u64 {
    let bytes = b"finepick page".iter().copied().chain(before.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_tokens_are_read() {
        for key in [0, 1, 77, u64::MAX] {
            assert_eq!(read(&token(key)), Some(key));
        }
        let own = token(77);
        let upper = own.to_uppercase();
        for other in ["", "1", &own[1..], &upper, "ä", &"0".repeat(32), &format!("{own}0")] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
