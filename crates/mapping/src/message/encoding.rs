//! `encoding`: how a message is packed into the text of a body, and how it is unpacked.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use base64::Engine as _;
use flate2::Compression;
use flate2::bufread::GzEncoder;
use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::ExtractError;
use crate::text::{BASE64, Word};

/// How a message is packed into the text of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Not at all: the text is the message.
    #[default]
    None,
    /// Base64, with or without padding and line breaks. Source: <https://www.rfc-editor.org/rfc/rfc4648>.
    Base64,
    /// Compressed by gzip, then base64. Source: <https://www.rfc-editor.org/rfc/rfc1952>.
    GzipBase64,
    /// Compressed by Zstandard, then base64. Source: <https://www.rfc-editor.org/rfc/rfc8878>.
    ZstdBase64,
}

impl Word for Encoding {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("base64", Self::Base64),
        ("gzip+base64", Self::GzipBase64),
        ("zstd+base64", Self::ZstdBase64),
    ];
}

/// How each message of a queue is packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packing {
    /// All in one way.
    As(Encoding),
    /// As the attribute of this name says; a message without it is not packed.
    Attribute(String),
}

impl Default for Packing {
    fn default() -> Self {
        Self::As(Encoding::default())
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::As(encoding) => encoding.fmt(f),
            Self::Attribute(name) => write!(f, "@attribute.{name}"),
        }
    }
}

impl Packing {
    /// How a message with these attributes is packed.
    pub(super) fn of<'a>(
        &self,
        attribute: impl FnOnce(&str) -> Option<&'a str>,
    ) -> Result<Encoding, ExtractError> {
        match self {
            Self::As(encoding) => Ok(*encoding),
            Self::Attribute(name) => match attribute(name) {
                None => Ok(Encoding::None),
                Some(value) => Encoding::of_attribute(value).ok_or(ExtractError::UnknownEncoding),
            },
        }
    }

    /// How a message without attributes is packed.
    pub(super) fn without_attributes(&self) -> Encoding {
        match self {
            Self::As(encoding) => *encoding,
            Self::Attribute(_) => Encoding::None,
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The maximum size of a message after it was unpacked, in bytes. 1 MiB of zeros packs into 1 KB, so a message of
/// 1 MiB could unpack to 1 GB.
pub const MAX_UNPACKED_BYTES: usize = 16 << 20;

/// What senders call an encoding in an attribute. A body of SQS is text, so what is compressed is in base64 too.
/// Source: <https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1>, <https://www.rfc-editor.org/rfc/rfc8878#section-7.2>.
const CODINGS: [(&str, Encoding); 4] = [
    ("identity", Encoding::None),
    ("gzip", Encoding::GzipBase64),
    ("x-gzip", Encoding::GzipBase64),
    ("zstd", Encoding::ZstdBase64),
];

impl Encoding {
    /// The text that holds a message.
    pub(super) fn pack(self, message: String) -> String {
        let bytes = match self {
            Self::None => return message,
            Self::Base64 => message.into_bytes(),
            Self::GzipBase64 => gzip(message.as_bytes()),
            Self::ZstdBase64 => compress_to_vec(message.as_bytes(), CompressionLevel::Fastest),
        };
        BASE64.encode(bytes)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().map(|&(_, encoding)| encoding)
    }

    /// What the value of an attribute names, in upper or lower case.
    fn of_attribute(value: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter().chain(&CODINGS);
        let named = names.find(|(name, _)| name.eq_ignore_ascii_case(value.trim()));
        named.map(|(_, encoding)| *encoding)
    }

    /// What an attribute can name, with commas between.
    pub(crate) fn list_of_attribute() -> String {
        let codings: Vec<_> = CODINGS.iter().map(|(name, _)| *name).collect();
        format!("{}, {}", Self::list(), codings.join(", "))
    }

    /// The message that a text holds.
    pub(super) fn unpack(self, text: Cow<'_, str>) -> Result<Cow<'_, str>, ExtractError> {
        let unpacked = match self {
            Self::None => return Ok(text),
            Self::Base64 => self.bytes_of(&text),
            Self::GzipBase64 => {
                let packed = self.bytes_of(&text)?;
                self.read_all(MultiGzDecoder::new(&packed[..]))
            }
            Self::ZstdBase64 => {
                let packed = self.bytes_of(&text)?;
                self.zstd_frames(&packed)
            }
        };
        let text = String::from_utf8(unpacked?).map_err(|_| ExtractError::NotEncoded(self))?;
        Ok(Cow::Owned(text))
    }

    fn bytes_of(self, text: &str) -> Result<Vec<u8>, ExtractError> {
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let decoded = BASE64.decode(digits);
        decoded.map_err(|_| ExtractError::NotEncoded(self))
    }

    /// The content of all frames, of which there is at least one.
    /// Source: <https://www.rfc-editor.org/rfc/rfc8878#section-3.1>.
    fn zstd_frames(self, mut rest: &[u8]) -> Result<Vec<u8>, ExtractError> {
        let not_encoded = || ExtractError::NotEncoded(self);
        let (mut decoder, mut unpacked) = (FrameDecoder::new(), Vec::new());
        loop {
            if window_bytes(rest) > u64::try_from(MAX_UNPACKED_BYTES).unwrap_or(u64::MAX) {
                return Err(ExtractError::TooLarge(MAX_UNPACKED_BYTES));
            }
            let mut after = rest;
            match StreamingDecoder::new_with_decoder(&mut after, &mut decoder) {
                Ok(frame) => {
                    let content = self.read_all(frame)?;
                    if !is_intact(&decoder, rest, content.len()) {
                        return Err(not_encoded());
                    }
                    unpacked.extend(content);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    const MAGIC_AND_LENGTH: usize = 8;
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    let skipped = length.saturating_add(MAGIC_AND_LENGTH);
                    after = rest.get(skipped..).ok_or_else(not_encoded)?;
                }
                Err(_) => return Err(not_encoded()),
            }
            if unpacked.len() > MAX_UNPACKED_BYTES {
                return Err(ExtractError::TooLarge(MAX_UNPACKED_BYTES));
            }
            if after.is_empty() {
                return Ok(unpacked);
            }
            rest = after;
        }
    }

    /// Everything that a decompressor gives, as long as it is not too much.
    fn read_all(self, decompressor: impl Read) -> Result<Vec<u8>, ExtractError> {
        let mut unpacked = Vec::new();
        let limit = u64::try_from(MAX_UNPACKED_BYTES).unwrap_or(u64::MAX);
        match decompressor.take(limit + 1).read_to_end(&mut unpacked) {
            Ok(bytes) if bytes > MAX_UNPACKED_BYTES => {
                Err(ExtractError::TooLarge(MAX_UNPACKED_BYTES))
            }
            Ok(_) => Ok(unpacked),
            Err(_) => Err(ExtractError::NotEncoded(self)),
        }
    }
}

/// How much memory a frame asks for, which a decoder takes before it gives the first byte; 0 where its header does not
/// say, because it is then as large as the content. Source: <https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1.2>.
fn window_bytes(frame: &[u8]) -> u64 {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    match frame {
        [0x28, 0xb5, 0x2f, 0xfd, descriptor, window, ..] if descriptor & SINGLE_SEGMENT == 0 => {
            let base = 1_u64 << (10 + (window >> 3));
            base + base / 8 * u64::from(window & 7)
        }
        _ => 0,
    }
}

/// Whether the content of a frame is that of its checksum and has its size, as far as the frame has them.
/// Source: <https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1.1>.
fn is_intact(decoder: &FrameDecoder, frame: &[u8], bytes: usize) -> bool {
    const SIZE_OR_SINGLE_SEGMENT: u8 = 0b1110_0000;
    let has_size =
        (frame.get(4)).is_some_and(|descriptor| descriptor & SIZE_OR_SINGLE_SEGMENT != 0);
    let is_of_size =
        !has_size || u64::try_from(bytes).is_ok_and(|bytes| bytes == decoder.content_size());
    let sent = decoder.get_checksum_from_data();
    is_of_size && sent.is_none_or(|sent| decoder.get_calculated_checksum() == Some(sent))
}

fn gzip(mut bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    // Reading from memory does not fail.
    let read = GzEncoder::new(&mut bytes, Compression::default()).read_to_end(&mut packed);
    debug_assert!(read.is_ok(), "{read:?}");
    packed
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const TEXT: &str = r#"{"user_id": "u-7", "n": 1}"#;

    /// TEXT as the programs `gzip` and `zstd` compress it.
    const GZIP: &str = "H4sIAAAAAAAAA6tWKi1OLYrPTFGyUlAq1TVX0lFQygOyDWsBcdQ68BoAAAA=";
    const ZSTD: &str = "KLUv/SQa0QAAeyJ1c2VyX2lkIjogInUtNyIsICJuIjogMX1/RpYa";

    fn unpack(encoding: Encoding, text: &str) -> Result<Cow<'_, str>, ExtractError> {
        encoding.unpack(Cow::Borrowed(text))
    }

    #[test]
    fn what_other_programs_packed_is_unpacked() {
        let base64 = STANDARD.encode(TEXT);
        for (encoding, packed) in [
            (Encoding::None, TEXT),
            (Encoding::Base64, &base64),
            (Encoding::GzipBase64, GZIP),
            (Encoding::ZstdBase64, ZSTD),
        ] {
            assert_eq!(unpack(encoding, packed).unwrap(), TEXT, "{encoding}");
        }
    }

    #[test]
    fn an_attribute_names_the_encoding_as_senders_write_it() {
        let packing = Packing::Attribute("content-encoding".to_owned());
        let of = |value: Option<&'static str>| packing.of(|_| value);
        for (value, encoding) in [
            (None, Encoding::None),
            (Some("identity"), Encoding::None),
            (Some("none"), Encoding::None),
            (Some("Base64"), Encoding::Base64),
            (Some("gzip"), Encoding::GzipBase64),
            (Some(" GZIP "), Encoding::GzipBase64),
            (Some("x-gzip"), Encoding::GzipBase64),
            (Some("gzip+base64"), Encoding::GzipBase64),
            (Some("zstd"), Encoding::ZstdBase64),
            (Some("zstd+base64"), Encoding::ZstdBase64),
        ] {
            assert_eq!(of(value), Ok(encoding), "{value:?}");
        }
        for value in ["", "br", "deflate", "gzip, gzip", "gzip+", "\0"] {
            assert_eq!(
                of(Some(value)),
                Err(ExtractError::UnknownEncoding),
                "{value}"
            );
        }
    }

    #[test]
    fn base64_may_be_broken_into_lines_and_lack_its_padding() {
        let (first, rest) = GZIP.split_at(20);
        let lines = format!("{}\r\n {}\n", first, rest.trim_end_matches('='));
        assert_eq!(unpack(Encoding::GzipBase64, &lines).unwrap(), TEXT);
    }

    #[test]
    fn what_is_not_packed_in_this_way_is_refused() {
        let not_utf8 = STANDARD.encode(b"\xff\xfe");
        for (encoding, text) in [
            (Encoding::Base64, TEXT),
            (Encoding::Base64, &not_utf8),
            (Encoding::GzipBase64, ZSTD),
            (Encoding::GzipBase64, GZIP.split_at(56).0),
            (Encoding::GzipBase64, ""),
            (Encoding::ZstdBase64, GZIP),
            (Encoding::ZstdBase64, ZSTD.split_at(40).0),
        ] {
            let refused = Some(ExtractError::NotEncoded(encoding));
            assert_eq!(unpack(encoding, text).err(), refused, "{encoding} {text}");
        }
    }

    #[test]
    fn frames_of_zstd_are_one_message_and_each_is_checked() {
        let frame = STANDARD.decode(ZSTD).unwrap();
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let of = |frames: &[&[u8]]| {
            let text = STANDARD.encode(frames.concat());
            unpack(Encoding::ZstdBase64, &text).map(Cow::into_owned)
        };
        assert_eq!(of(&[&frame, &frame]), Ok(TEXT.repeat(2)));
        assert_eq!(of(&[&skippable, &frame, &skippable]), Ok(TEXT.to_owned()));
        let empty = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0];
        assert_eq!(of(&vec![&empty[..]; 80_000]), Ok(String::new()));
        let mut other_checksum = frame.clone();
        *other_checksum.last_mut().unwrap() ^= 1;
        let mut other_content = frame.clone();
        other_content[12] ^= 1;
        let without_checksum = [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 9, 0, 0][..], b"7"].concat();
        assert_eq!(of(&[&without_checksum]), Ok("7".to_owned()));
        let mut other_size = without_checksum.clone();
        other_size[5] = 2;
        let refused = Err(ExtractError::NotEncoded(Encoding::ZstdBase64));
        for frames in [
            &[&frame[..], b"x"][..],
            &[&frame, &skippable[..10]],
            &[&other_checksum],
            &[&other_content],
            &[&other_size],
        ] {
            assert_eq!(of(frames), refused);
        }
    }

    #[test]
    fn a_frame_that_asks_for_more_memory_than_a_message_may_take_is_refused() {
        let mut frame = STANDARD.decode(zstd_bomb(1)).unwrap();
        let refused = ExtractError::TooLarge(MAX_UNPACKED_BYTES);
        for (window, expected) in [
            (14 << 3, None),
            (14 << 3 | 1, Some(refused)),
            (0xff, Some(refused)),
        ] {
            frame[5] = window;
            let unpacked = unpack(Encoding::ZstdBase64, &STANDARD.encode(&frame)).err();
            assert_eq!(unpacked, expected, "{window}");
        }
    }

    /// A frame of blocks that each repeat a byte 131,071 times. Source: RFC 8878, section 3.1.1.2.
    fn zstd_bomb(blocks: usize) -> String {
        const MAGIC_AND_WINDOW_OF_128_KIB: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0, 0x38];
        let header = |is_last: u32| (is_last | 1 << 1 | 131_071 << 3).to_le_bytes();
        let mut frame = MAGIC_AND_WINDOW_OF_128_KIB.to_vec();
        for block in (0..blocks).rev() {
            frame.extend(&header(u32::from(block == 0))[..3]);
            frame.push(b' ');
        }
        STANDARD.encode(frame)
    }

    #[test]
    fn a_message_that_unpacks_to_too_much_is_refused() {
        let most = MAX_UNPACKED_BYTES / 131_071;
        let unpacked = unpack(Encoding::ZstdBase64, &zstd_bomb(most)).map(|text| text.len());
        assert_eq!(unpacked, Ok(most * 131_071));
        for blocks in [most + 1, 100 * most] {
            let refused = unpack(Encoding::ZstdBase64, &zstd_bomb(blocks)).err();
            assert_eq!(refused, Some(ExtractError::TooLarge(MAX_UNPACKED_BYTES)));
        }
    }
}
