"""One gRPC service a file: messages in, our types inside, messages out."""
