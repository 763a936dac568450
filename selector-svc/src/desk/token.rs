//! Tokens of pages: a place in a list, sealed so that one made up by a caller is recognised.

use crate::store::ListKey;

/// The token of the page after this place.
#[must_use]
pub fn write(key: &ListKey) -> String {
    let (number, text) = key;
    format!("{:016x}{:016x}{text}", number.cast_unsigned(), seal(key))
}

/// The place of a token that [`write`] made.
#[must_use]
pub fn read(token: &str) -> Option<ListKey> {
    let (number, rest) = token.split_at_checked(16)?;
    let (_, text) = rest.split_at_checked(16)?;
    let number = u64::from_str_radix(number, 16).ok()?.cast_signed();
    let key = (number, text.to_owned());
    (write(&key) == token).then_some(key)
}

/// FNV-1a over the place, after a word of our own.
fn seal((number, text): &ListKey) -> u64 {
    let bytes = b"finepick list".iter().copied().chain(number.to_le_bytes());
    bytes.chain(text.bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_go_there_and_back(number in any::<i64>(), text in "[a-zA-Z0-9._-]{0,96}") {
            let key = (number, text);
            prop_assert_eq!(read(&write(&key)), Some(key));
        }

        #[test]
        fn what_is_made_up_is_refused(text in "\\PC{0,80}") {
            prop_assert_eq!(read(&text), None);
        }
    }
}
