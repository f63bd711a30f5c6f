// The channel to the server: length-prefixed frames on one inherited unix socket.
//
//   u32 length (big-endian, of what follows) | u8 kind | payload
//
//   server -> runtime   1 INVOKE      u32 header length, header JSON, event bytes
//   runtime -> server   2 READY       JSON [name]: what init has loaded of the runtime's AWS SDK; or empty
//                       3 RESPONSE    36 bytes request id, body
//                       4 ERROR       36 bytes request id, error JSON
//                       5 INIT_ERROR  error JSON
//                       6 LOADING     empty: the bootstrap is up and begins to load the user's code
//                       7 CHUNK       36 bytes request id, bytes of an answer that streams; RESPONSE (empty) or ERROR ends it
//                       8 HEAD        36 bytes request id, content type of an answer that streams
//   server -> runtime  16 ASSIGN      JSON {"environment": {name: value}}: the function of a generic runtime
//   runtime -> server  17 STANDBY     empty (Python: or why it has not all that it was to load): a generic runtime is up and knows no function
//                      18 to 21       what Python's hooks of SnapStart need; node has none
//   runtime -> server  22 GIVEN       before READY: what this init was asked for beside itself
//   server -> runtime  23 PLACED      empty, after ASSIGN: the function's code and folders are in their places
//
// Reads block the whole process on purpose. Between two invokes Lambda promises nothing to background work (the
// environment is frozen), and a blocking read is the shortest way from the server's write to the handler's first line.
// Where something of the function needs the event loop meanwhile (work that init left open, as an internal extension does;
// a signal handler), arrival() waits by the loop instead; from then on this channel reads no other way.
'use strict';

const fs = require('fs');

const KIND_INVOKE = 1;
const KIND_READY = 2;
const KIND_RESPONSE = 3;
const KIND_ERROR = 4;
const KIND_INIT_ERROR = 5;
const KIND_LOADING = 6;
const KIND_CHUNK = 7;
const KIND_HEAD = 8;
const KIND_ASSIGN = 16;
const KIND_STANDBY = 17;
const KIND_GIVEN = 22;
const KIND_PLACED = 23;

const REQUEST_ID_BYTES = 36;
const PREFIX_BYTES = 5; // u32 length, u8 kind
const SCRATCH_BYTES = 64 * 1024;
const FRAME_BYTES_MAX = 272 * 1024 * 1024; // the largest event that an operator may allow, and its header
const CHUNK_BYTES_MAX = 1024 * 1024;

// Sleeps without turning the event loop; only for descriptors that somebody made non-blocking.
const pause = new Int32Array(new SharedArrayBuffer(4));
const pauseOneMillisecond = () => Atomics.wait(pause, 0, 0, 1);

/** Writes all of `buffer[start, end)` to `fd`, however the kernel cuts it. */
function writeAll(fd, buffer, start, end) {
  while (start < end) {
    try {
      start += fs.writeSync(fd, buffer, start, end - start);
    } catch (error) {
      if (error.code !== 'EAGAIN' && error.code !== 'EINTR') throw error;
      pauseOneMillisecond();
    }
  }
}

class Channel {
  constructor(fd) {
    this.fd = fd;
    this.input = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
    this.output = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
    this.begin = 0; // unread bytes are input[begin, end)
    this.end = 0;
    this.socket = null; // reads by the event loop, once arrival() was called
    this.ended = false;
    this.wake = null;
  }

  /** Buffers the next whole frame, or the end, while the event loop turns. */
  async arrival() {
    if (this.socket === null) {
      const net = require('net');
      this.socket = new net.Socket({ fd: this.fd, readable: true, writable: false, allowHalfOpen: true });
      const over = () => {
        this.ended = true;
        this.wake?.();
      };
      this.socket.on('data', (bytes) => this.take(bytes));
      this.socket.on('end', over);
      this.socket.on('error', over);
    }
    const whole = () => {
      const buffered = this.end - this.begin;
      return buffered >= 4 && buffered >= 4 + Math.min(this.input.readUInt32BE(this.begin), FRAME_BYTES_MAX);
    };
    // Only this wait keeps the process going: while a handler runs, an empty loop means that nothing of it is left to do.
    this.socket.ref();
    while (!this.ended && !whole()) await new Promise((resolve) => (this.wake = resolve));
    this.socket.unref();
  }

  take(bytes) {
    this.reserve(this.end - this.begin + bytes.length);
    bytes.copy(this.input, this.end);
    this.end += bytes.length;
    // Room for the whole of a large frame at once.
    if (this.end - this.begin >= 4) this.reserve(4 + Math.min(this.input.readUInt32BE(this.begin), FRAME_BYTES_MAX));
    this.wake?.();
  }

  /** Blocks until the next INVOKE; returns `{ header, event }` (event: JSON text) or null when the server hung up. */
  next() {
    const length = this.awaitFrame(KIND_INVOKE);
    if (length === null) return null;
    const frame = this.input;
    const start = this.begin;
    const headerStart = start + 9;
    const headerEnd = headerStart + frame.readUInt32BE(start + 5);
    const eventEnd = start + 4 + length;
    if (headerEnd > eventEnd) throw new Error('channel: header longer than its frame');
    const header = JSON.parse(frame.toString('utf8', headerStart, headerEnd));
    const event = frame.toString('utf8', headerEnd, eventEnd);
    this.consume(eventEnd);
    return { header, event };
  }

  /** Blocks until a generic runtime is given a function; returns the object of the ASSIGN frame or null at the end. */
  assignment() {
    const length = this.awaitFrame(KIND_ASSIGN);
    if (length === null) return null;
    const end = this.begin + 4 + length;
    const assignment = JSON.parse(this.input.toString('utf8', this.begin + PREFIX_BYTES, end));
    this.consume(end);
    return assignment;
  }

  /** Blocks until the code of the function is in its place; false at the end. */
  placed() {
    const length = this.awaitFrame(KIND_PLACED);
    if (length === null) return false;
    this.consume(this.begin + 4 + length);
    return true;
  }

  /** Buffers a whole frame of this kind; its length, or null when the server hung up. */
  awaitFrame(kind) {
    if (!this.fill(4)) return null;
    const length = this.input.readUInt32BE(this.begin);
    const shortest = kind === KIND_INVOKE ? PREFIX_BYTES : 1;
    if (length < shortest || length > FRAME_BYTES_MAX) throw new Error(`channel: bad frame length ${length}`);
    if (!this.fill(4 + length)) return null;
    const found = this.input[this.begin + 4];
    if (found !== kind) throw new Error(`channel: unexpected frame kind ${found}`);
    return length;
  }

  /** Lets go of everything before `end`. */
  consume(end) {
    this.begin = end;
    if (this.begin < this.end) return;
    this.begin = this.end = 0;
    // One large event must not keep its memory for the rest of the environment's life.
    if (this.input.length > SCRATCH_BYTES) this.input = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  }

  /** Makes room for `count` bytes from `begin` on. */
  reserve(count) {
    if (this.input.length - this.begin >= count) return;
    const target = count > this.input.length ? Buffer.allocUnsafeSlow(count) : this.input;
    this.input.copy(target, 0, this.begin, this.end);
    this.end -= this.begin;
    this.begin = 0;
    this.input = target;
  }

  /** Reads until `count` bytes are buffered; false at the end of the stream. */
  fill(count) {
    // By the loop a whole frame has been buffered before, or there is none to come.
    if (this.socket !== null) return this.end - this.begin >= count;
    this.reserve(count);
    while (this.end - this.begin < count) {
      let received;
      try {
        received = fs.readSync(this.fd, this.input, this.end, this.input.length - this.end, null);
      } catch (error) {
        if (error.code === 'ECONNRESET') return false;
        if (error.code !== 'EAGAIN' && error.code !== 'EINTR') throw error;
        pauseOneMillisecond();
        continue;
      }
      if (received === 0) return false;
      this.end += received;
    }
    return true;
  }

  loading() {
    this.send(KIND_LOADING, '', '');
  }

  standby() {
    this.send(KIND_STANDBY, '', '');
  }

  /** What this init was asked for: text, or a Buffer. */
  given(body) {
    this.send(KIND_GIVEN, '', body);
  }

  /** Init is over, and has loaded this of the runtime's SDK: JSON text, or nothing. */
  ready(used = '') {
    this.send(KIND_READY, '', used);
  }

  /** `body` is JSON text, or a Buffer from a streaming handler. */
  response(requestId, body) {
    this.send(KIND_RESPONSE, requestId, body);
  }

  /** The answer begins to stream. */
  head(requestId, contentType) {
    this.send(KIND_HEAD, requestId, contentType);
  }

  /** Bytes of an answer that streams. */
  chunk(requestId, bytes) {
    for (let start = 0; start < bytes.length; start += CHUNK_BYTES_MAX) {
      this.send(KIND_CHUNK, requestId, bytes.subarray(start, start + CHUNK_BYTES_MAX));
    }
  }

  error(requestId, json) {
    this.send(KIND_ERROR, requestId, json);
  }

  initError(json) {
    this.send(KIND_INIT_ERROR, '', json);
  }

  send(kind, requestId, body) {
    const isText = typeof body === 'string';
    // A UTF-16 unit becomes at most three UTF-8 bytes, so a short text surely fits without being measured first.
    const bound = isText ? body.length * 3 : body.length;
    const room = PREFIX_BYTES + REQUEST_ID_BYTES;
    let frame = this.output;
    if (room + bound > frame.length) {
      frame = Buffer.allocUnsafe(room + (isText ? Buffer.byteLength(body) : body.length));
    }
    let end = PREFIX_BYTES;
    if (kind === KIND_RESPONSE || kind === KIND_ERROR || kind === KIND_CHUNK || kind === KIND_HEAD) {
      frame.fill(' ', end, end + REQUEST_ID_BYTES);
      frame.latin1Write(requestId, end, REQUEST_ID_BYTES);
      end += REQUEST_ID_BYTES;
    }
    end += isText ? frame.utf8Write(body, end) : body.copy(frame, end);
    frame.writeUInt32BE(end - 4, 0);
    frame[4] = kind;
    writeAll(this.fd, frame, 0, end);
  }
}

module.exports = { Channel, writeAll };
