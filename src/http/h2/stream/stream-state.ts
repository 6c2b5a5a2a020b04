/** RFC 9113 section 5.1, without what only server push needs. */
export const StreamState = {
  /** Of a client: its HEADERS have not been sent. */
  Idle: 0,
  Open: 1,
  /** We have sent END_STREAM. */
  HalfClosedLocal: 2,
  /** The peer has sent END_STREAM. */
  HalfClosedRemote: 3,
  Closed: 4,
} as const;
export type StreamState = (typeof StreamState)[keyof typeof StreamState];

export const StreamEvent = { Open: 0, SendEnd: 1, ReceiveEnd: 2, Reset: 3 } as const;
export type StreamEvent = (typeof StreamEvent)[keyof typeof StreamEvent];

/** The state behind `event`; events that mean nothing in a state leave it as it is. */
export function nextState(state: StreamState, event: StreamEvent): StreamState {
  switch (event) {
    case StreamEvent.Open:
      return state === StreamState.Idle ? StreamState.Open : state;
    case StreamEvent.SendEnd:
      if (state === StreamState.Open) return StreamState.HalfClosedLocal;
      return state === StreamState.HalfClosedRemote ? StreamState.Closed : state;
    case StreamEvent.ReceiveEnd:
      if (state === StreamState.Open) return StreamState.HalfClosedRemote;
      return state === StreamState.HalfClosedLocal ? StreamState.Closed : state;
    case StreamEvent.Reset:
      return StreamState.Closed;
  }
}
