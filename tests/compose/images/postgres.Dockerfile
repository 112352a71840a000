# As postgres: the same variables, user and folders.
FROM tradewind-local/debian:bookworm
RUN groupmod --gid 999 --non-unique postgres && usermod --uid 999 --non-unique --gid 999 postgres \
 && install --directory --owner 999 --group 999 --mode 700 /var/lib/postgresql/data \
 && install --directory --owner 999 --group 999 --mode 3777 /var/run/postgresql \
 && ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/
COPY postgres-entrypoint.sh /usr/local/bin/
ENV PGDATA=/var/lib/postgresql/data
USER 999:999
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["postgres-entrypoint.sh"]
