"""Job numbers for Slurm scripts (SLURM_JOB_ID), made from run ids."""


def job_number(text: str) -> int:
    """The number of a run's id, or of "RUN/CELL": the first word of `printf %s TEXT | cksum`."""
    data = text.encode("utf-8", "surrogateescape")
    size, tail = len(data), []
    while size:
        tail.append(size & 0xFF)
        size >>= 8
    sum_ = 0
    for byte in data + bytes(tail):
        sum_ ^= byte << 24
        for _ in range(8):
            sum_ = (sum_ << 1 ^ 0x04C11DB7 if sum_ & 0x80000000 else sum_ << 1) & 0xFFFFFFFF
    return ~sum_ & 0xFFFFFFFF
