//! Tokens of keys that the mask secret lacks: a person's value cannot lead to them.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::TryStreamExt as _;
use mapping::internals::{AesSivKeys, Masker, qualified};
use mapping::{KeyRing, Mask, Metadata, TableMapping};
use sqs_to_postgres::database::DatabaseError;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::left::{Accept, Left};
use super::person::People;
use super::rows::Rows;
use super::session::begin;
use crate::cli::database::Parameter;
use crate::cli::output::{counted, escaped};

/// The hashes of 256 bits: one of sha256 looks like one of hmac-sha256.
const HASH_256: &str = "^[0-9a-f]{64}$";

/// The hashes of sha512, which need no key.
const HASH_512: &str = "^[0-9a-f]{128}$";

/// Tokens of a column whose keys are unknown, by the id of the key; `None`: nothing says which key it was.
type Unknown = BTreeMap<Option<String>, u64>;

impl Rows<'_> {
    /// Tokens in the searched columns that no key of the ring explains, besides those that were found.
    pub(super) async fn of_unknown_keys(
        &mut self,
        keys: Option<&KeyRing>,
    ) -> Result<Vec<Left>, DatabaseError> {
        let client = begin(&mut self.database).await?;
        let mut left = Vec::new();
        for (at, searched) in self.people.searched.iter().enumerate() {
            let Some(table) = self.people.pipeline.tables.get(searched.table) else {
                continue;
            };
            let Some(mask) = searched.mask else { continue };
            let column = MaskedColumn {
                people: self.people,
                at,
                table,
                name: &self.people.column,
            };
            let mut unknown = column.tokens(client, keys).await?;
            if mask != Mask::Sha256 {
                for (id, count) in column.hashes(client, keys).await? {
                    *unknown.entry(id).or_default() += count;
                }
            }
            left.extend(unknown.iter().map(|(id, count)| column.left(id, *count)));
        }
        client.batch_execute("COMMIT").await?;
        Ok(left)
    }
}

/// A masked column.
struct MaskedColumn<'a> {
    people: &'a People,
    /// Its position among those that are searched.
    at: usize,
    table: &'a TableMapping,
    name: &'a str,
}

impl MaskedColumn<'_> {
    /// The tokens of aes-siv that cannot be decrypted. They are decrypted here, so that no key goes to the server.
    async fn tokens(
        &self,
        client: &Client,
        keys: Option<&KeyRing>,
    ) -> Result<Unknown, DatabaseError> {
        let masker = keys.and_then(|keys| Masker::new(Mask::AesSiv, Some(keys)).ok());
        let token = AesSivKeys::PATTERN;
        let column = self.text();
        let condition = format!(
            "{column} ~ '{token}' AND {column} !~ '{HASH_256}' AND {column} !~ '{HASH_512}'"
        );
        let sql = self.select(&column, &condition);
        let Some((cells, array)) = self.people.cells(self.at) else {
            return Ok(Unknown::new());
        };
        let parameter: (Parameter, Type) = (&cells, array);
        let mut rows = pin!(client.query_typed_raw(&sql, [parameter]).await?);
        let mut unknown = Unknown::new();
        while let Some(row) = rows.try_next().await? {
            let token: &str = row.try_get(0)?;
            let is_known = masker
                .as_ref()
                .is_some_and(|masker| masker.value(token).is_ok());
            if let Some(id) = AesSivKeys::id_of(token).filter(|_| !is_known) {
                *unknown.entry(Some(id.to_owned())).or_default() += 1;
            }
        }
        Ok(unknown)
    }

    /// The hashes whose key is not known: a column of `@mask_key_id` may say it.
    async fn hashes(
        &self,
        client: &Client,
        keys: Option<&KeyRing>,
    ) -> Result<Unknown, DatabaseError> {
        let mut columns = self.table.columns.iter();
        let key_id = columns.find(|column| column.reads(&Metadata::MaskKeyId));
        let key_id = key_id.map_or("NULL".to_owned(), |column| qualified("t", &column.name));
        let ids = format!("{key_id}::pg_catalog.text, pg_catalog.count(*)");
        let condition = format!("{} ~ '{HASH_256}'", self.text());
        let sql = format!("{} GROUP BY 1", self.select(&ids, &condition));
        let Some((cells, array)) = self.people.cells(self.at) else {
            return Ok(Unknown::new());
        };
        let mut unknown = Unknown::new();
        for row in client.query_typed(&sql, &[(&cells, array)]).await? {
            let (id, count): (Option<String>, i64) = (row.try_get(0)?, row.try_get(1)?);
            let known =
                |id: &String| keys.is_some_and(|keys| keys.keys().any(|(known, _)| known == id));
            if !id.as_ref().is_some_and(known) {
                unknown.insert(id, u64::try_from(count).unwrap_or_default());
            }
        }
        Ok(unknown)
    }

    fn text(&self) -> String {
        format!("{}::pg_catalog.text", qualified("t", self.name))
    }

    /// Selects from the rows that do not belong to the people.
    fn select(&self, columns: &str, condition: &str) -> String {
        let (column, table) = (self.text(), &self.table.table);
        let others = format!("{column} <> ALL ($1::pg_catalog.text[])");
        format!("SELECT {columns} FROM {table} AS t WHERE {condition} AND {others}")
    }

    fn left(&self, id: &Option<String>, count: u64) -> Left {
        let place = format!("in column {} of {}", escaped(self.name), self.table.table);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        match id {
            Some(id) => Left::unless_accepted(
                Accept::UnknownKeys,
                format!(
                    "{} {place} of key {id:?}, which the mask secret lacks or has with another value, so rows of the person may be among them: add that key to mask_keys",
                    counted(count, "token")
                ),
            ),
            None => Left::unless_accepted(
                Accept::Hashes,
                format!(
                    "{} {place}: a hash does not identify its key, and rows of a key that is not in the mask secret cannot be found, so check that the secret has every key since the first row",
                    counted(count, "hashed value")
                ),
            ),
        }
    }
}
