//! HTTP/2 frames written by hand, for requests that no client library sends.

/// The bytes that one client sends: the preface, its settings, and then frames in the order of the calls.
#[derive(Clone, Debug)]
pub struct Http2 {
    bytes: Vec<u8>,
    next_stream: u32,
}

impl Http2 {
    /// A client with this window for each response (SETTINGS_INITIAL_WINDOW_SIZE).
    #[must_use]
    pub fn with_window(bytes: u32) -> Self {
        let initial_window_size = 4_u16.to_be_bytes();
        let setting = [&initial_window_size[..], &bytes.to_be_bytes()].concat();
        let client = Self {
            bytes: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            next_stream: 1,
        };
        client.frame(4, 0, 0, &setting)
    }

    /// A frame of any kind, with any flags and payload.
    ///
    /// # Panics
    ///
    /// If the payload is longer than a frame may be.
    #[must_use]
    pub fn frame(mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        assert_eq!(length[0], 0, "a frame has at most 2^24 - 1 bytes");
        self.bytes.extend(&length[1..]);
        self.bytes.extend([kind, flags]);
        self.bytes.extend(stream.to_be_bytes());
        self.bytes.extend(payload);
        self
    }

    /// A GET request for a path, on a new stream.
    #[must_use]
    pub fn get(self, path: &str) -> Self {
        let (get, http, authority) = (0x82, 0x86, 0x41);
        let authority = [&[authority][..], &text("test")].concat();
        let path = [&[0x04][..], &text(path)].concat();
        self.head(&[&[get, http][..], &path, &authority].concat())
    }

    /// A request with this header block, on a new stream.
    #[must_use]
    pub fn head(mut self, block: &[u8]) -> Self {
        let (end_stream, end_headers) = (0x1, 0x4);
        let stream = self.next_stream;
        self.next_stream += 2;
        self.frame(1, end_stream | end_headers, stream, block)
    }

    /// Resets the stream of the last request.
    #[must_use]
    pub fn reset(self) -> Self {
        let (last, cancel) = (self.next_stream - 2, 8_u32);
        self.frame(3, 0, last, &cancel.to_be_bytes())
    }

    /// The id of the stream of the next request.
    #[must_use]
    pub fn next_stream(&self) -> u32 {
        self.next_stream
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A string literal of HPACK (RFC 7541, 5.2), of less than 127 bytes.
fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("short");
    assert!(length < 127, "a longer one has its length in several bytes");
    [&[length][..], text.as_bytes()].concat()
}
