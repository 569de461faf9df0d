#include "networking/grpc_stream.h"

#include <grpc/grpc_security_constants.h>

#include <array>
#include <cstring>

namespace exo {
namespace {

std::string certificate_of(const std::shared_ptr<const grpc::AuthContext>& auth) {
  if (!auth || !auth->IsPeerAuthenticated()) return {};
  const auto values = auth->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
  return values.empty() ? std::string() : std::string(values[0].data(), values[0].size());
}

class DialledStream final : public LinkStream,
                            public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  DialledStream(LinkStreamOwner& owner, std::shared_ptr<grpc::Channel> channel, PeerAddress address,
                NodeId expected)
      : LinkStream(owner, true, std::move(address), std::move(expected)), stub_(channel) {}

  void begin() {
    self_ = shared_from_this();
    stub_.PrepareBidiStreamingCall(&context_, kLinkMethod, {}, this);
    AddHold();  // writes start outside of reactions; end() lets go
    StartCall();
  }
  std::string peer_certificate() override { return certificate_of(context_.auth_context()); }

 private:
  void start_write(const grpc::ByteBuffer& frame) override { StartWrite(&frame); }
  void start_read(grpc::ByteBuffer& into) override { StartRead(&into); }
  void end(const grpc::Status&, bool) override {
    context_.TryCancel();
    RemoveHold();
  }
  void OnReadDone(bool ok) override { read_done(ok); }
  void OnWriteDone(bool ok) override { write_done(ok); }
  void OnDone(const grpc::Status& status) override { done(status); }

  grpc::ClientContext context_;
  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub_;
};

class AcceptedStream final : public LinkStream, public grpc::ServerGenericBidiReactor {
 public:
  AcceptedStream(LinkStreamOwner& owner, grpc::GenericCallbackServerContext* context)
      : LinkStream(owner, false, {}, {}), context_(context) {}

  void begin() { self_ = shared_from_this(); }
  std::string peer_certificate() override { return certificate_of(context_->auth_context()); }

 private:
  void start_write(const grpc::ByteBuffer& frame) override { StartWrite(&frame); }
  void start_read(grpc::ByteBuffer& into) override { StartRead(&into); }
  void end(const grpc::Status& why, bool abort) override {
    if (abort) context_->TryCancel();  // else a peer that does not read could hold Finish up
    Finish(why.ok() ? grpc::Status::CANCELLED : why);
  }
  void OnReadDone(bool ok) override { read_done(ok); }
  void OnWriteDone(bool ok) override { write_done(ok); }
  void OnDone() override { done(grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection lost")); }

  grpc::GenericCallbackServerContext* context_;
};

template <class Stream>
std::shared_ptr<Stream> counted(LinkStreamOwner& owner, Stream* stream) {
  owner.live()->add();
  return std::shared_ptr<Stream>(stream, [live = owner.live()](Stream* dead) {
    delete dead;
    live->remove();
  });
}

// Walks the slices of a buffer as one run of bytes.
class SliceReader {
 public:
  explicit SliceReader(const grpc::ByteBuffer& buffer) { ok_ = buffer.Dump(&slices_).ok(); }
  bool ok() const { return ok_; }
  bool read(void* out, size_t size) {
    auto* target = static_cast<uint8_t*>(out);
    while (size > 0) {
      if (index_ == slices_.size()) return false;
      const grpc::Slice& slice = slices_[index_];
      const size_t part = std::min(size, slice.size() - offset_);
      if (part > 0) std::memcpy(target, slice.begin() + offset_, part);
      target += part;
      size -= part;
      offset_ += part;
      if (offset_ == slice.size()) {
        ++index_;
        offset_ = 0;
      }
    }
    return true;
  }

 private:
  bool ok_ = false;
  std::vector<grpc::Slice> slices_;
  size_t index_ = 0;
  size_t offset_ = 0;
};

}  // namespace

void LiveStreams::add() {
  const std::lock_guard lock(mutex_);
  ++count_;
}

void LiveStreams::remove() {
  const std::lock_guard lock(mutex_);
  if (--count_ == 0) none_.notify_all();
}

void LiveStreams::wait_for_none() {
  std::unique_lock lock(mutex_);
  none_.wait(lock, [&] { return count_ == 0; });
}

bool LinkStream::write(grpc::ByteBuffer frame, QueueLimits limits) {
  std::unique_lock lock(mutex_);
  const size_t size = frame.Length();
  if (ended_ || queue_.size() >= limits.messages || queued_bytes_ + size > limits.bytes)
    return false;
  queue_.push_back(std::move(frame));
  queued_bytes_ += size;
  if (!writing_) {
    writing_ = true;
    start_front(lock);
  }
  return true;
}

void LinkStream::start_front(std::unique_lock<std::mutex>& lock) {
  const std::shared_ptr<LinkStream> self = shared_from_this();
  const grpc::ByteBuffer& front = queue_.front();  // stays in place until write_done
  ++starting_;
  lock.unlock();
  start_write(front);
  lock.lock();
  if (--starting_ == 0 && end_later_) {
    end_later_ = false;
    end(why_, abort_later_);
  }
}

void LinkStream::read_next() {
  const std::lock_guard lock(mutex_);
  if (!ended_) start_read(incoming_);
}

size_t LinkStream::queued_messages() const {
  const std::lock_guard lock(mutex_);
  return ended_ ? 0 : queue_.size();
}

void LinkStream::close(const grpc::Status& why) {
  const std::lock_guard lock(mutex_);
  // A little that is still queued (a greeting) may go out together with the reason.
  end_locked(why, /*abort=*/queued_bytes_ > (32 << 10));
}

void LinkStream::end_locked(const grpc::Status& why, bool abort) {
  if (ended_) return;
  ended_ = true;
  why_ = why;
  if (starting_ == 0) return end(why, abort);
  end_later_ = true;
  abort_later_ = abort;
}

void LinkStream::read_done(bool ok) {
  const std::shared_ptr<LinkStream> self = shared_from_this();
  if (!ok) {
    const std::lock_guard lock(mutex_);
    end_locked(grpc::Status::OK, true);
    return;
  }
  owner_.on_frame(self, incoming_);
}

// gRPC aborts the process when a write starts before the last one is done: one at a time.
void LinkStream::write_done(bool ok) {
  std::unique_lock lock(mutex_);
  queued_bytes_ -= queue_.front().Length();
  queue_.pop_front();
  if (!ok) end_locked(grpc::Status::OK, true);
  writing_ = !ended_ && !queue_.empty();
  if (writing_) start_front(lock);
}

void LinkStream::done(const grpc::Status& status) {
  const std::shared_ptr<LinkStream> self = std::move(self_);
  grpc::Status why;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    why = why_.ok() ? status : why_;
  }
  owner_.on_closed(self, why);
}

std::shared_ptr<LinkStream> dial_stream(LinkStreamOwner& owner,
                                        std::shared_ptr<grpc::Channel> channel, PeerAddress address,
                                        NodeId expected) {
  const std::shared_ptr<DialledStream> stream = counted(
      owner, new DialledStream(owner, std::move(channel), std::move(address), std::move(expected)));
  stream->begin();
  return stream;
}

std::pair<grpc::ServerGenericBidiReactor*, std::shared_ptr<LinkStream>> accept_stream(
    LinkStreamOwner& owner, grpc::GenericCallbackServerContext* context) {
  const std::shared_ptr<AcceptedStream> stream = counted(owner, new AcceptedStream(owner, context));
  stream->begin();
  return {stream.get(), stream};
}

grpc::ByteBuffer to_buffer(Frame frame) {
  std::array<grpc::Slice, 2> slices = {grpc::Slice(frame.head), grpc::Slice()};
  size_t count = 1;
  if (frame.payload && !frame.payload->empty()) {
    auto* owner = new Payload(frame.payload);
    slices[1] = grpc::Slice(
        const_cast<std::byte*>(frame.payload->data()), frame.payload->size(),
        [](void* held) { delete static_cast<Payload*>(held); }, owner);
    count = 2;
  }
  return {slices.data(), count};
}

Result<Message> from_buffer(const grpc::ByteBuffer& buffer) {
  SliceReader reader(buffer);
  std::array<std::byte, kFrameHeaderBytes> start{};
  const size_t size = buffer.Length();
  if (!reader.ok() || !reader.read(start.data(), std::min(size, start.size())))
    return corrupt("a frame that cannot be read");
  const FrameHeader header =
      TRY(decode_header(std::span(start).first(std::min(size, start.size())), size));
  std::string control(header.control_bytes, '\0');
  Payload payload;
  if (!reader.read(control.data(), control.size())) return corrupt("a truncated frame");
  if (header.payload_bytes > 0) {
    auto bytes = std::make_shared<std::vector<std::byte>>(header.payload_bytes);
    if (!reader.read(bytes->data(), bytes->size())) return corrupt("a truncated frame");
    payload = std::move(bytes);
  }
  return decode_body(control, std::move(payload));
}

}  // namespace exo
