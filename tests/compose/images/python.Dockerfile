# As python:3-slim, whose pip may install.
FROM tradewind-local/debian:bookworm
RUN rm /usr/lib/python3*/EXTERNALLY-MANAGED
CMD ["python"]
