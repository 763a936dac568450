//! What one example is, and when two are the same.

use sha2::{Digest, Sha256};

/// A turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, or what the chat template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// An example. What of it counts in the loss is said at [`crate::dataset::tokenized`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Example {
    /// Running text.
    Text(String),
    /// A prompt and how it goes on; only the completion is learnt.
    Completion {
        /// May be empty.
        prompt: String,
        /// Not empty.
        completion: String,
    },
    /// A conversation; what the assistant says is learnt. Not empty.
    Messages(Vec<Message>),
}

impl Example {
    /// Has it no text to learn from? White space alone is none in running text; a completion may be a line break.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.trim().is_empty(),
            Self::Completion { completion, .. } => completion.is_empty(),
            Self::Messages(messages) => messages.iter().all(|message| message.content.trim().is_empty()),
        }
    }

    /// Bytes of all its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Completion { prompt, completion } => prompt.len() + completion.len(),
            Self::Messages(messages) => messages
                .iter()
                .map(|message| message.role.len() + message.content.len())
                .sum(),
        }
    }

    /// SHA-256 of the content. Two examples are duplicates when it is the same: same kind, same texts, byte by byte.
    /// The held-out split is chosen by it, so it never changes.
    #[must_use]
    pub fn content_hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"finepick example 1\0");
        // A length before every text: ("ab", "c") is not ("a", "bc").
        let mut text = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        match self {
            Self::Text(content) => {
                text("text");
                text(content);
            }
            Self::Completion { prompt, completion } => {
                text("completion");
                text(prompt);
                text(completion);
            }
            Self::Messages(messages) => {
                text("messages");
                for message in messages {
                    text(&message.role);
                    text(&message.content);
                }
            }
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(prompt: &str, completion: &str) -> Example {
        Example::Completion {
            prompt: prompt.into(),
            completion: completion.into(),
        }
    }

    #[test]
    fn the_hash_tells_texts_and_kinds_apart() {
        assert_eq!(pair("ab", "c").content_hash(), pair("ab", "c").content_hash());
        assert_ne!(pair("ab", "c").content_hash(), pair("a", "bc").content_hash());
        assert_ne!(
            pair("", "abc").content_hash(),
            Example::Text("abc".into()).content_hash()
        );
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // It decides who is held out: a change would move losses that were already measured.
        let hash = Example::Text("finepick".into()).content_hash();
        assert_eq!(hash[..4], [107, 145, 121, 137]);
    }

    #[test]
    fn white_space_is_no_text_but_may_be_a_completion() {
        assert!(Example::Text(" \n".into()).is_empty());
        assert!(!pair("a", "\n").is_empty());
        assert!(pair("a", "").is_empty());
    }
}
