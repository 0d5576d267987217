//! One range of a blob, read in order from whichever host gives it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use reqwest::Response;

use crate::image::registry::{
    candidates::Candidates,
    descriptor::Descriptor,
    endpoint::Endpoint,
    error::{Error, Failure},
    http::{Request, refusal},
    repository::Repository,
};

/// Reads a range; after a failure it goes on at the byte where it was, at the same host or another one.
#[derive(Debug)]
pub(super) struct RangeReader {
    repository: Arc<Repository>,
    blob: Arc<Descriptor>,
    candidates: Candidates,
    /// The next byte to be given.
    offset: u64,
    /// The first byte that is not wanted.
    end: u64,
    body: Option<Body>,
}

/// The content of an answer.
#[derive(Debug)]
struct Body {
    response: Response,
    /// Bytes before the wanted ones, of a host that does not serve ranges.
    skip: u64,
    /// Whether the host has said how long it is.
    length_known: bool,
    serves_ranges: bool,
}

impl RangeReader {
    pub(super) fn new(
        repository: Arc<Repository>,
        blob: Arc<Descriptor>,
        offset: u64,
        end: u64,
    ) -> Result<Self, Error> {
        let candidates = repository.blob_candidates(&blob)?;
        Ok(Self { repository, blob, candidates, offset, end, body: None })
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Wants less than before.
    pub(super) fn shorten(&mut self, end: u64) {
        self.end = self.end.min(end).max(self.offset);
    }

    /// Whether the host that is being read from says that it serves ranges.
    pub(super) fn serves_ranges(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.serves_ranges)
    }

    /// The next bytes; `None` after the last one of the range.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.offset == self.end && !self.must_see_end() {
                return Ok(None);
            }
            match self.step().await {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                Ok(None) => {}
                Err(Some(failure)) => {
                    self.body = None;
                    self.candidates.failed(failure);
                }
                Err(None) => return Err(self.give_up()),
            }
        }
    }

    /// Whether the blob is complete, but the host might have more of it, which would be another one.
    fn must_see_end(&self) -> bool {
        self.end == self.blob.size && self.body.as_ref().is_some_and(|body| !body.length_known)
    }

    /// Opens a connection or reads from it. `Err(None)` means that there is no host left.
    async fn step(&mut self) -> Result<Option<Bytes>, Option<Failure>> {
        let Some(body) = &mut self.body else {
            let endpoint = self.candidates.next().await.ok_or(None)?;
            self.body = Some(self.open(&endpoint).await?);
            self.repository.givers.add(&endpoint);
            return Ok(None);
        };
        let Some(mut bytes) = self.repository.http.chunk(&mut body.response).await? else {
            self.body = None;
            let truncated = Failure::Truncated { received: self.offset, expected: self.end };
            return if self.offset < self.end { Err(Some(truncated)) } else { Ok(None) };
        };
        let skipped = bytes.len().min(usize::try_from(body.skip).unwrap_or(usize::MAX));
        body.skip -= skipped as u64;
        let _ = bytes.split_to(skipped);
        let wanted = self.end - self.offset;
        if bytes.len() as u64 > wanted {
            if self.end == self.blob.size {
                let found = self.offset + bytes.len() as u64;
                return Err(Some(Failure::Length { expected: self.blob.size, found }));
            }
            // The range was shortened after it had been asked for.
            bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
            self.body = None;
        }
        self.offset += bytes.len() as u64;
        self.candidates.gained(bytes.len() as u64);
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Body, Failure> {
        let url = endpoint.url(self.repository.reference.repository(), &format!("blobs/{}", self.blob.digest));
        let mut request = Request::new(Method::GET, url);
        // Lengths and ranges are those of the blob and not of what a compressing proxy makes of it.
        request.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(range) = self.range_header() {
            request.headers.insert(header::RANGE, range);
        }
        let response = self.repository.send(endpoint, request).await?.response;
        let encoding = response.headers().get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(Failure::Protocol("content is encoded although that was not asked for".to_owned()));
        }
        match response.status() {
            StatusCode::OK => self.whole(response),
            StatusCode::PARTIAL_CONTENT => self.part(response),
            _ => Err(refusal(response).await),
        }
    }

    fn range_header(&self) -> Option<HeaderValue> {
        let range = match (self.offset, self.end) {
            (0, end) if end == self.blob.size => return None,
            (offset, end) if end == self.blob.size => format!("bytes={offset}-"),
            (offset, end) => format!("bytes={offset}-{}", end.saturating_sub(1)),
        };
        HeaderValue::from_str(&range).ok()
    }

    /// Takes an answer with the whole blob.
    fn whole(&self, response: Response) -> Result<Body, Failure> {
        let length = response.headers().get(header::CONTENT_LENGTH).and_then(number);
        if let Some(found) = length
            && found != self.blob.size
        {
            return Err(Failure::Length { expected: self.blob.size, found });
        }
        if self.end != self.blob.size {
            return Err(Failure::Protocol("it does not serve ranges".to_owned()));
        }
        let accepted = response.headers().get(header::ACCEPT_RANGES);
        let serves_ranges = accepted.is_some_and(|unit| unit == "bytes");
        Ok(Body { response, skip: self.offset, length_known: length.is_some(), serves_ranges })
    }

    /// Takes an answer with the range, RFC 9110 section 14.4. It may end early, but must begin where it should.
    fn part(&self, response: Response) -> Result<Body, Failure> {
        let wrong = || Failure::Protocol("it sends another range than was asked for".to_owned());
        let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let (first, last, size) = range.and_then(parse_content_range).ok_or_else(wrong)?;
        if let Some(found) = size
            && found != self.blob.size
        {
            return Err(Failure::Length { expected: self.blob.size, found });
        }
        if first != self.offset || last < first || last >= self.end {
            return Err(wrong());
        }
        Ok(Body { response, skip: 0, length_known: true, serves_ranges: true })
    }

    fn give_up(&mut self) -> Error {
        let candidates = std::mem::replace(&mut self.candidates, Candidates::new(self.repository.patience, Vec::new()));
        candidates.into_error("fetch", format!("{} of {}", self.blob.digest, self.repository.reference))
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

/// Reads `bytes 5-9/10`, where the size may be unknown (`*`).
pub(in crate::image::registry) fn parse_content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, size) = text.strip_prefix("bytes ")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let size = if size == "*" { None } else { Some(size.parse().ok()?) };
    Some((first.parse().ok()?, last.parse().ok()?, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, 9, None)));
        for bad in ["", "bytes */10", "bytes 5-9", "items 5-9/10", "bytes -9/10", "bytes 5-99999999999999999999999/10"]
        {
            assert_eq!(parse_content_range(bad), None, "{bad:?}");
        }
    }
}
