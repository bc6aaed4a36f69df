//! Why a message that was moved to S3 cannot be read. Only buckets that the mapping lists are named, and no key: it may
//! be personal.

use std::fmt;

use crate::message::PointerFault;

/// Why a message that was moved to S3 cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Fault {
    /// The pointer does not lead to it.
    Pointer(PointerFault),
    /// This bucket does not have the object.
    Missing(Box<str>),
    /// This bucket does not exist.
    NoBucket(Box<str>),
    /// The bucket is in another region, if S3 says in which.
    OtherRegion {
        /// The bucket.
        bucket: Box<str>,
        /// Where it is.
        region: Option<Box<str>>,
    },
    /// S3 refuses to read the object.
    Denied {
        /// The bucket.
        bucket: Box<str>,
        /// S3's error code.
        code: Box<str>,
    },
    /// S3 does not answer, or asks to try again later.
    Unavailable {
        /// The bucket.
        bucket: Box<str>,
        /// S3's error code, or what prevented the request.
        reason: Box<str>,
    },
}

impl fmt::Display for S3Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer(PointerFault::Malformed) => f.write_str(
                "the pointer to the message in S3 does not name a bucket and a valid key: check the producer",
            ),
            Self::Pointer(PointerFault::ForeignBucket) => f.write_str(
                "the message is in a bucket of S3 that the mapping does not list: add the bucket to s3_pointers if its owner is trusted, or fix the producer",
            ),
            Self::Pointer(PointerFault::NotRead) => f.write_str(
                "the message is in S3, which is not read here: take the content of the object as the sample",
            ),
            Self::Missing(bucket) => write!(
                f,
                "bucket {bucket:?} does not have the object of the message: keep objects longer than messages can wait, or fix the producer"
            ),
            Self::NoBucket(bucket) => write!(
                f,
                "bucket {bucket:?} does not exist: create it, or correct s3_pointers"
            ),
            Self::OtherRegion { bucket, region } => {
                write!(f, "bucket {bucket:?} is in ")?;
                match region {
                    Some(region) => write!(f, "region {region}")?,
                    None => f.write_str("another region")?,
                }
                f.write_str(": deploy the function there, or have the producer use a bucket of the function's region")
            }
            Self::Denied { bucket, code } => write!(
                f,
                "bucket {bucket:?} refuses to be read ({code}): allow s3:GetObject on its objects, s3:ListBucket on it (without which S3 answers the same for a missing object), and kms:Decrypt on its key"
            ),
            Self::Unavailable { bucket, reason } => write!(
                f,
                "bucket {bucket:?} is unavailable ({reason}): check the network access to S3 (in a VPC: a gateway endpoint or NAT)"
            ),
        }
    }
}
