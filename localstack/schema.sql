CREATE TABLE "user_logins" (
    "message_id" uuid NOT NULL,
    "user_id" varchar(128) NOT NULL,
    "device_type" varchar(32),
    "masked_ip" varchar(256) NOT NULL,
    "masked_device_id" varchar(256) NOT NULL,
    "locale" varchar(32),
    "app_version" integer,
    "create_date" date NOT NULL,
    PRIMARY KEY ("message_id")
);
